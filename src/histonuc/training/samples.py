"""Pictures of validation tiles in the run folder: image, truth, prediction."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.contours import trace_contours
from histonuc.evaluation import Evaluation
from histonuc.files import replacing
from histonuc.nuclei import make_consecutive
from histonuc.taxonomy import LabelSpace

_ZOOM = 2
_NUM_SAMPLES = 4


def save_samples(evaluation: Evaluation, folder: Path) -> None:
    """Write up to four panels as PNG, replacing those of the previous best."""
    space = evaluation.label_space
    for number, panel in enumerate(evaluation.panels[:_NUM_SAMPLES]):
        picture = np.concatenate(
            [
                enlarge(panel.image),
                draw_outlines(panel.image, panel.truth, panel.truth_types, space),
                draw_outlines(panel.image, panel.prediction, panel.prediction_types, space),
            ],
            axis=1,
        )
        with replacing(folder / f"{number}.png") as draft:
            draft.write_bytes(cv2.imencode(draft.suffix, picture[..., ::-1])[1].tobytes())


def enlarge(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image at twice the size."""
    size = (image.shape[1] * _ZOOM, image.shape[0] * _ZOOM)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_CUBIC), np.uint8)


def draw_outlines(
    image: NDArray[np.uint8],
    labels: NDArray[np.int32],
    types: NDArray[np.int32],
    space: LabelSpace,
) -> NDArray[np.uint8]:
    """The enlarged image with each nucleus outlined in its class's colour (grey if unknown)."""
    picture = enlarge(image)
    dense, ids = make_consecutive(labels)
    points, offsets = trace_contours(dense, len(ids))
    for i, value in enumerate(ids):
        ring = np.rint(points[offsets[i] : offsets[i + 1]] * _ZOOM).astype(np.int32)
        kind = int(types[value])
        colour = space.colours[kind - 1] if kind else (90, 90, 90)
        cv2.polylines(picture, [ring], True, colour, 2, cv2.LINE_AA)
    return picture
