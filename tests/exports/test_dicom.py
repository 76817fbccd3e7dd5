from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

hd = pytest.importorskip("highdicom", reason="an extra: pip install 'histonuc[dicom]'")

import pydicom  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

from histonuc import cli  # noqa: E402
from histonuc.exports import open_source, write_table  # noqa: E402
from histonuc.exports.dicom import write_dicom  # noqa: E402
from histonuc.taxonomy import PANNUKE  # noqa: E402


def write_slide(path, **attributes):
    header = pydicom.Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(header, name, generate_uid())
    header.Modality, header.PatientID = "SM", "P-7"
    for name, value in attributes.items():
        setattr(header, name, value)
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def slide(tmp_path):
    return write_slide(tmp_path / "slide.dcm")


@given(seed=st.integers(0, 999), num=st.integers(1, 12), mpp=st.sampled_from([0.25, float("nan")]))
@settings(max_examples=15)
def test_highdicom_reads_back_equal(nuclei_of, tmp_path_factory, seed, num, mpp):
    nuclei, folder = nuclei_of(seed, num, mpp), tmp_path_factory.mktemp("dicom")
    source = open_source(nuclei)
    small_batches = replace(source, read=lambda _: source.read(2))
    write_dicom(small_batches, folder / "a.dcm", slide=write_slide(folder / "slide.dcm"))
    groups = hd.ann.annread(folder / "a.dcm").get_annotation_groups()
    assert sum(group.number_of_annotations for group in groups) == len(nuclei)
    for group in groups:
        part = nuclei.select(nuclei.class_index == PANNUKE.classes.index(group.label))
        polygons = group.get_graphic_data("2D")
        assert [len(polygon) for polygon in polygons] == np.diff(part.offsets).tolist()
        assert np.array_equal(np.concatenate(polygons), part.points.astype(np.float32))
        _, values, _ = group.get_measurements()
        expected = [part.score, part.area_um2] if mpp == 0.25 else [part.score]
        assert np.array_equal(values, np.stack(expected, axis=1).astype(np.float32))


@pytest.mark.parametrize("mpp", [0.25, float("nan")])
def test_highdicom_reads_the_same_polygons_and_measurements(nuclei_of, slide, tmp_path, mpp):
    nuclei = nuclei_of(num=12, mpp=mpp)
    write_dicom(nuclei, tmp_path / "a.dcm", slide=slide)
    read = hd.ann.annread(tmp_path / "a.dcm")
    assert (read.PatientID, read.Modality, read.AnnotationCoordinateType) == ("P-7", "ANN", "2D")
    source = pydicom.dcmread(slide)
    assert read.StudyInstanceUID == source.StudyInstanceUID
    assert read.ReferencedImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
    groups = {group.label: group for group in read.get_annotation_groups()}
    assert set(groups) == {PANNUKE.classes[j] for j in nuclei.class_index}
    for name, group in groups.items():
        part = nuclei.select(nuclei.class_index == PANNUKE.classes.index(name))
        polygons = group.get_graphic_data("2D")
        assert len(polygons) == group.number_of_annotations == len(part)
        for i, polygon in enumerate(polygons):
            assert np.array_equal(polygon, part.contour(i).astype(np.float32))
        concepts, values, _ = group.get_measurements()
        meanings = [concept.meaning for concept in concepts]
        assert meanings == ["Detection score", *(["Area"] if mpp == 0.25 else [])]
        assert np.array_equal(values[:, 0], part.score)
        if mpp == 0.25:
            assert np.allclose(values[:, 1], part.area_um2)


def test_what_cannot_be_written_is_said(nuclei_of, slide, tmp_path):
    with pytest.raises(ValueError, match="no nuclei"):
        write_dicom(nuclei_of(num=0), tmp_path / "a.dcm", slide=slide)
    (tmp_path / "b.dcm").write_bytes(b"no")
    with pytest.raises(ValueError, match="no DICOM file"):
        write_dicom(nuclei_of(), tmp_path / "a.dcm", slide=tmp_path / "b.dcm")
    write_dicom(nuclei_of(), tmp_path / "a.dcm", slide=slide)
    with pytest.raises(ValueError, match="no VL Whole Slide"):
        write_dicom(nuclei_of(), tmp_path / "c.dcm", slide=tmp_path / "a.dcm")
    bare = pydicom.dcmread(slide)
    del bare.StudyInstanceUID
    bare.save_as(slide)
    with pytest.raises(ValueError, match=r"slide\.dcm: its header lacks StudyInstanceUID"):
        write_dicom(nuclei_of(), tmp_path / "c.dcm", slide=slide)
    assert not (tmp_path / "c.dcm").exists()


def test_a_slide_of_another_size_is_refused(with_extra, tmp_path):
    table, nuclei = with_extra  # of a slide of 1400 x 300 px
    right = write_slide(tmp_path / "s.dcm", TotalPixelMatrixColumns=1400, TotalPixelMatrixRows=300)
    write_dicom(table, tmp_path / "a.dcm", slide=right)
    coarser = {"TotalPixelMatrixColumns": 350, "TotalPixelMatrixRows": 75}
    for attributes, got in ((coarser, "350 x 75"), ({}, r"\? x \?")):
        slide = write_slide(tmp_path / "other.dcm", **attributes)
        with pytest.raises(
            ValueError, match=rf"other\.dcm: expected .* 1400 x 300 px .*, got .* {got} px: give"
        ):
            write_dicom(table, tmp_path / "b.dcm", slide=slide)
        write_dicom(nuclei, tmp_path / "c.dcm", slide=slide)  # they know of no size
    assert not (tmp_path / "b.dcm").exists()


REPAIRS = [
    ("StudyDate", "2021-01-07", "20210107", "written as 20210107"),
    ("PatientBirthDate", "1950.2.3", "19500203", "written as 19500203"),
    ("PatientBirthDate", "00000000", "", "left empty"),
    ("StudyDate", "07/01/2021", "", "left empty"),  # July or January?
    ("StudyTime", "9:05:30", "090530", "written as 090530"),
    ("StudyTime", "25:99", "", "left empty"),
    ("PatientSex", "female", "F", "written as F"),
    ("PatientSex", "unknown", "", "left empty"),
    ("PatientAge", "45 years", None, "left out"),
    ("PatientID", "P" * 80, "P" * 80, "kept"),
    ("StudyID", "a study of long ago", "a study of long ago", "kept"),
]


@pytest.mark.parametrize(("name", "value", "written", "said"), REPAIRS)
def test_what_is_illegal_in_a_header_is_repaired_or_left_out_and_told(
    nuclei_of, tmp_path, capsys, name, value, written, said
):
    nuclei = nuclei_of(mpp=float("nan"))  # and the slide does not say its scale either
    write_table(nuclei, tmp_path / "nuclei.parquet")
    with pydicom.config.disable_value_validation():
        slide = write_slide(tmp_path / "slide.dcm", **{name: value})
    assert cli.run(["export", str(tmp_path), "--to", "dicom", "--slide", str(slide)]) == 0
    shown = capsys.readouterr()
    assert not shown.err  # the libraries say nothing of their own
    (note,) = [line for line in shown.out.splitlines() if "note" in line]
    assert f"{name} " in note
    assert said in note
    with pydicom.config.disable_value_validation():
        read = hd.ann.annread(tmp_path / "nuclei.dcm")
        plain = pydicom.dcmread(tmp_path / "nuclei.dcm")
        found = (plain[name].value or "") if name in plain else None
        groups = read.get_annotation_groups()
    assert found == written
    assert sum(group.number_of_annotations for group in groups) == len(nuclei)
    if said != "kept":  # then every value is legal
        strict = pydicom.config.settings
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(strict, "_reading_validation_mode", pydicom.config.RAISE)
            assert str(pydicom.dcmread(tmp_path / "nuclei.dcm"))


def test_a_real_file_of_a_converter_gets_its_annotations(nuclei_of, shared_slides, tmp_path):
    slide = shared_slides / "small_dicom.dcm"  # its dates have dashes, its UIDs are too long
    notes = write_dicom(nuclei_of(), tmp_path / "a.dcm", slide=slide)
    assert any("StudyDate '2021-01-07'" in note for note in notes)
    assert any("SOPInstanceUID" in note and "kept" in note for note in notes)
    assert not any("SeriesDate" in note for note in notes)  # which annotations do not take over
    with pydicom.config.disable_value_validation():
        read, source = hd.ann.annread(tmp_path / "a.dcm"), pydicom.dcmread(slide)
        referred = read.ReferencedImageSequence[0].ReferencedSOPInstanceUID
        assert referred == source.SOPInstanceUID
    assert read.StudyDate == "20210107"
    assert sum(g.number_of_annotations for g in read.get_annotation_groups()) == len(nuclei_of())
