"""Models that tell how far their classes can be trusted: the column of their results."""

from __future__ import annotations

import cv2
import numpy as np

from histonuc.exports import read_table
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.models.outputs import Outputs
from histonuc.models.trust import Trust
from histonuc.representations.cells import Cells


def test_nuclei_unlike_those_learned_from_have_no_trust(pixel_model, blobs, tmp_path) -> None:
    """A model that learned its classes from red nuclei alone."""

    def outputs(images: np.ndarray) -> Outputs:
        height, width = (-(-side // 2) for side in images.shape[1:3])
        small = [cv2.resize(view, (width, height), interpolation=cv2.INTER_AREA) for view in images]
        values = np.stack(small).transpose(0, 3, 1, 2).astype(np.float32)
        return Outputs(maps=pixel_model.maps(images), features=(Cells(values=values, stride=2),))

    pixel_model.outputs = outputs
    pixel_model.trust = Trust(
        centres=np.array([[90, 40, 60]], np.float32),
        whitening=np.eye(3, dtype=np.float32) / 8,
        distances=np.linspace(0, 9, 10, dtype=np.float32),
    )
    path = tmp_path / "blobs.png"
    cv2.imwrite(str(path), blobs[..., ::-1])
    options = PredictOptions(mpp=0.25, tile_px=256, geojson=False)
    (item,) = predict([path], tmp_path / "out", options, model=pixel_model).items
    table = read_table(tmp_path / "out" / "blobs" / "nuclei.parquet")
    trust, red = table.features["class_trust"], table.class_index == 0
    assert item.num_nuclei == len(trust) > 100
    assert trust.min() >= 0
    assert trust.max() <= 1
    large = table.area_px > 60
    assert trust[red & large].min() > trust[~red & large].max()
