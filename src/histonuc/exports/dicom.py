"""DICOM Microscopy Bulk Simple Annotations: for archives and viewers that hold the slide."""

from __future__ import annotations

import math
import warnings
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from histonuc._version import __version__
from histonuc.exports.dicom_header import read_slide_header
from histonuc.exports.source import Source, open_source
from histonuc.files import replacing
from histonuc.nuclei import Nuclei

if TYPE_CHECKING:
    from highdicom.ann import AnnotationGroup, Measurements, MicroscopyBulkSimpleAnnotations
    from pydicom import Dataset


def write_dicom(nuclei: Nuclei | Source | Path, path: Path, *, slide: Path) -> tuple[str, ...]:
    """Write one group of polygons a class, with score and, where mpp is known, area in µm².

    Coordinates are float32 pixels of the slide's total pixel matrix (2D), whose origin is the
    top-left corner of the top-left pixel, as everywhere here.

    Args:
        nuclei: what to write; at least one.
        path: ``*.dcm``.
        slide: DICOM file of the slide's finest level: patient, study and the image referred to.

    Returns:
        A sentence for everything in the slide's header that was put right or left out, see
        `histonuc.exports.dicom_header`.

    Raises:
        ValueError: no nuclei, or `slide` is no DICOM whole-slide image, not a valid one, or of
            another size than the image that the result says it is of.
    """
    from pydicom.config import disable_value_validation

    source = open_source(nuclei)
    counts = _count(source)
    if not counts.any():
        raise ValueError("no nuclei: DICOM has no empty annotations")
    # What is illegal is put right or told: the library's own warnings would say it once more.
    with disable_value_validation():
        header, notes = read_slide_header(slide)
        _check_size(header, source, slide)
        with ExitStack() as files:
            groups: list[AnnotationGroup] = []
            for j in np.flatnonzero(counts).tolist():
                file = files.enter_context(TemporaryFile())
                groups.append(_group(source, j, int(counts[j]), len(groups) + 1, file))
            try:
                annotations = _annotate(header, groups, str(source.facts.get("model", "histonuc")))
            except (AttributeError, TypeError, ValueError) as error:
                raise ValueError(
                    f"--slide {slide}: its header is no valid DICOM: {error}"
                ) from None
            with replacing(path) as draft:
                annotations.save_as(draft)
    return notes


def _annotate(
    header: Dataset, groups: list[AnnotationGroup], model: str
) -> MicroscopyBulkSimpleAnnotations:
    """The annotations of a slide, as highdicom makes them."""
    import highdicom as hd

    with warnings.catch_warnings():  # of names in one component, as slides without a patient have
        warnings.simplefilter("ignore", UserWarning)
        return hd.ann.MicroscopyBulkSimpleAnnotations(
            source_images=[header],
            annotation_coordinate_type="2D",
            annotation_groups=groups,
            series_instance_uid=hd.UID(),
            series_number=1,
            sop_instance_uid=hd.UID(),
            instance_number=1,
            manufacturer="histonuc",
            manufacturer_model_name=model,
            software_versions=__version__,
            device_serial_number="1",
            content_label="NUCLEI",
        )


def _check_size(header: Dataset, source: Source, path: Path) -> None:
    """Refuse another slide, or a coarser level of this one, where the result knows its size."""
    if "image_size" not in source.facts:
        return
    wanted = list(source.size)
    got = [header.get(f"TotalPixelMatrix{name}", "?") for name in ("Columns", "Rows")]
    if got != wanted:
        raise ValueError(
            f"--slide {path}: expected the slide of {wanted[0]} x {wanted[1]} px that the nuclei "
            f"lie on, got a total pixel matrix of {got[0]} x {got[1]} px: give the DICOM file of "
            "its finest level"
        )


def _count(source: Source) -> NDArray[np.int64]:
    """Nuclei int64 (C,) of each class."""
    counts = np.zeros(len(source.label_space), np.int64)
    for batch in source.batches():
        counts += np.bincount(batch.nuclei.class_index, minlength=len(counts))
    return counts


def _group(
    source: Source, index: int, num_nuclei: int, number: int, file: IO[bytes]
) -> AnnotationGroup:
    """All nuclei of one class; `file` takes their coordinates."""
    import highdicom as hd
    from pydicom.sr.codedict import codes

    n = num_nuclei
    first = np.zeros((0, 2), np.float32)
    starts = np.zeros(n, np.int64)
    values = np.empty((n, 2), np.float32)
    row = vertex = 0
    for batch in source.batches():
        part = batch.nuclei.select(batch.nuclei.class_index == index)
        rows = slice(row, row := row + len(part))
        starts[rows] = vertex + part.offsets[:-1]
        values[rows] = np.stack([part.score, part.area_um2], axis=1)
        vertex += len(part.points)
        file.write(part.points.astype("<f4").tobytes())
        if len(part) and not len(first):
            first = part.contour(0).astype(np.float32)
    group = hd.ann.AnnotationGroup(
        number=number,
        uid=hd.UID(),
        label=source.label_space.classes[index],
        annotated_property_category=codes.SCT.AnatomicalStructure,
        annotated_property_type=codes.SCT.Nucleus,
        graphic_type="POLYGON",
        graphic_data=[first],
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name="histonuc",
            family=codes.DCM.ArtificialIntelligence,
            version=__version__,
        ),
        display_color=hd.color.CIELabColor.from_rgb(*source.label_space.colours[index]),
    )
    # highdicom checks and joins one array a nucleus: with the first it made the group, the rest
    # goes in as it would have joined them, the coordinates from their file.
    file.seek(0)
    group.NumberOfAnnotations = n
    group.PointCoordinatesData = file
    group.LongPrimitivePointIndexList = (2 * starts + 1).astype(np.int32).tobytes()
    group.MeasurementsSequence = _measurements(values, math.isfinite(source.mpp))
    del group._graphic_data  # of the first nucleus only
    return group


def _measurements(values: NDArray[np.float32], has_area: bool) -> list[Measurements]:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    score: Any = hd.sr.CodedConcept("score", "99HISTONUC", "Detection score")
    measured = [hd.ann.Measurements(name=score, values=values[:, 0], unit=codes.UCUM.NoUnits)]
    if has_area:
        area = hd.ann.Measurements(
            name=codes.SCT.Area, values=values[:, 1], unit=codes.UCUM.SquareMicrometer
        )
        measured.append(area)
    return measured
