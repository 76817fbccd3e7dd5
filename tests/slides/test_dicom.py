"""DICOM slides that OpenSlide refuses: frames in pieces, levels and parts in several files."""

import numpy as np
import pytest

from histonuc.inference.sources import find_inputs
from histonuc.slides import open_slide

from .conftest import levels_of, write_dicom

pydicom = pytest.importorskip("pydicom", reason="an extra: pip install 'histonuc[dicom]'")


@pytest.fixture
def levels():
    return levels_of(300, 200, (1, 2))  # 5 x 4 and 3 x 2 frames


def whole(slide):
    return slide.read(0, 0, *slide.size, *slide.size)


@pytest.mark.parametrize("table", [True, False])
@pytest.mark.parametrize("pieces", [2, 3])
def test_frames_in_pieces(tmp_path, levels, pieces, table):
    write_dicom(tmp_path / "a.dcm", levels[0], pieces=pieces, table=table)
    with open_slide(tmp_path / "a.dcm") as slide:
        assert slide.reader == "pydicom"
        assert np.array_equal(whole(slide), levels[0])


def test_an_extended_table_of_offsets(tmp_path, levels):
    write_dicom(tmp_path / "a.dcm", levels[0], pieces=2)
    facts = pydicom.dcmread(tmp_path / "a.dcm")
    from pydicom.encaps import encapsulate_extended, generate_frames

    frames = list(generate_frames(facts.PixelData, number_of_frames=facts.NumberOfFrames))
    facts.PixelData, facts.ExtendedOffsetTable, facts.ExtendedOffsetTableLengths = (
        encapsulate_extended(frames)
    )
    facts.save_as(tmp_path / "a.dcm")
    with open_slide(tmp_path / "a.dcm") as slide:
        assert np.array_equal(whole(slide), levels[0])


def test_a_concatenation_is_one_level(tmp_path, levels):
    for number, part in enumerate((range(7), range(7, 15), range(15, 20))):
        write_dicom(tmp_path / f"{number}.dcm", levels[0], instance=1, part=part)
    write_dicom(tmp_path / "level1.dcm", levels[1], instance=2)
    assert [path.name for path in find_inputs([tmp_path])[0]] == ["0.dcm"]
    for name in ("0.dcm", "2.dcm", "level1.dcm"):  # whichever of them is given
        with open_slide(tmp_path / name) as slide:
            assert slide.levels == ((300, 200), (150, 100))
            assert np.array_equal(whole(slide), levels[0])
            assert np.array_equal(slide.read(0, 0, 256, 128, 128, 64), levels[1][:64, :128])
    (tmp_path / "1.dcm").unlink()
    with pytest.raises(ValueError, match=r"8 of its 20 frames are in none of them.*one folder"):
        open_slide(tmp_path / "0.dcm")


def test_levels_have_one_frame_of_reference(tmp_path, levels):
    write_dicom(tmp_path / "a.dcm", levels[0], more={"FrameOfReferenceUID": "1.2.5"})
    write_dicom(tmp_path / "b.dcm", levels[1], more={"FrameOfReferenceUID": "1.2.5"})
    other = {"FrameOfReferenceUID": "1.2.6"}
    write_dicom(tmp_path / "c.dcm", levels[1][:80], more=other)
    with open_slide(tmp_path / "a.dcm") as slide:
        assert slide.levels == ((300, 200), (150, 100))


def test_files_without_a_suffix(tmp_path, levels):
    for number, level in enumerate(levels):
        write_dicom(tmp_path / f"1.2.3.{number}", level)
    write_dicom(tmp_path / "1.2.4.0", levels[1], series="1.2.4")
    (tmp_path / "notes").write_bytes(b"x")
    (tmp_path / "folder").mkdir()
    listing = (tmp_path / "1.2.3.0").read_bytes()
    (tmp_path / "DICOMDIR").write_bytes(listing)  # it names every series of its medium
    for name in ("1.2.3.0", "1.2.3.1"):
        with open_slide(tmp_path / name) as slide:
            assert slide.levels == ((300, 200), (150, 100))
            assert np.array_equal(whole(slide), levels[0])


def test_a_copy_of_a_level_does_not_disturb(tmp_path, levels):
    write_dicom(tmp_path / "a.dcm", levels[0])
    write_dicom(tmp_path / "b.dcm", 255 - levels[0])
    with open_slide(tmp_path / "a.dcm") as slide:
        assert np.array_equal(whole(slide), levels[0])


def test_the_label_is_beside_the_tissue(tmp_path, levels):
    write_dicom(tmp_path / "a.dcm", levels[0])
    label = {"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"], "FrameOfReferenceUID": "1.7"}
    write_dicom(tmp_path / "b.dcm", levels[1], more=label)
    with open_slide(tmp_path / "a.dcm") as slide:
        assert slide.levels == ((300, 200),)
        assert slide.associated() == ("label",)
        assert np.array_equal(slide.read_associated("label"), levels[1])


def test_a_date_that_is_none_is_told_by_either_reader(tmp_path, levels):
    facts = {"ImageType": ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], "Modality": "SM"}
    facts |= {"DimensionOrganizationType": "TILED_FULL"}
    write_dicom(tmp_path / "a.dcm", levels[0], more=facts)
    for path, reader in ((tmp_path / "a.dcm", "OpenSlide"), (tmp_path / "b.dcm", "pydicom")):
        written = pydicom.dcmread(tmp_path / "a.dcm")
        if reader == "pydicom":
            del written.Modality, written.ImageType
            written.SeriesInstanceUID = "1.2.4"
        with pydicom.config.disable_value_validation():
            written.StudyDate = "07.01.2021"
            written.save_as(path)
        with open_slide(path) as slide:
            assert slide.reader == reader
            assert np.array_equal(whole(slide), levels[0])
            (note,) = slide.notes
            assert note.startswith("'07.01.2021' (StudyDate) is no date")


@pytest.mark.parametrize("bits", [4, 7])
def test_samples_of_few_bits_use_the_whole_range(tmp_path, levels, bits):
    top = 2**bits - 1
    values = levels[0] % (top + 1)
    facts = {"BitsStored": bits, "HighBit": bits - 1}
    write_dicom(tmp_path / "a.dcm", values, compress=False, more=facts)
    with open_slide(tmp_path / "a.dcm") as slide:
        assert np.array_equal(whole(slide), np.rint(values * (255 / top)))


def lit_by(meaning):
    path, code = pydicom.Dataset(), pydicom.Dataset()
    code.CodeMeaning = meaning
    path.OpticalPathDescription = "DAPI"
    path.IlluminationTypeCodeSequence = [code]
    return path


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"BitsAllocated": 16}, "16-bit pixels, expected 8.*convert"),
        ({"TotalPixelMatrixFocalPlanes": 3}, "3 planes of focus, expected one"),
        ({"NumberOfOpticalPaths": 3}, "3 optical paths.*bright-field RGB"),
        ({"OpticalPathSequence": "fluorescence"}, r"fluorescence \(DAPI\).*bright-field RGB"),
    ],
)
def test_what_is_no_bright_field_is_refused_with_the_reason(tmp_path, levels, more, reason):
    if "OpticalPathSequence" in more:
        more = {"OpticalPathSequence": [lit_by("Epifluorescence illumination")]}
    write_dicom(tmp_path / "a.dcm", levels[0], more=more)
    with pytest.raises(ValueError, match=reason):
        open_slide(tmp_path / "a.dcm")
