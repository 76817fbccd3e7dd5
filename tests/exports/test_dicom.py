import numpy as np
import pytest

hd = pytest.importorskip("highdicom", reason="an extra: pip install 'histonuc[dicom]'")

import pydicom  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian, generate_uid  # noqa: E402

from histonuc.exports.dicom import write_dicom  # noqa: E402
from histonuc.taxonomy import PANNUKE  # noqa: E402


@pytest.fixture
def slide(tmp_path):
    header = pydicom.Dataset()
    header.SOPClassUID = "1.2.840.10008.5.1.4.1.1.77.1.6"
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(header, name, generate_uid())
    header.Modality, header.PatientID = "SM", "P-7"
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.save_as(tmp_path / "slide.dcm", enforce_file_format=True)
    return tmp_path / "slide.dcm"


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
    with pytest.raises(ValueError, match="no valid DICOM"):
        write_dicom(nuclei_of(), tmp_path / "c.dcm", slide=slide)
    assert not (tmp_path / "c.dcm").exists()
