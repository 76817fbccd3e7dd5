"""A slide stitched from real tiles with known nuclei: the slide run finds what tiles give alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile

from histonuc.data.folder import FolderOptions, prepare_folder
from histonuc.data.store import Store
from histonuc.exports.ome_tiff import write_ome_tiff
from histonuc.exports.table import read_table
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.metrics.panoptic import panoptic_counts
from histonuc.models.loading import load_model

from ..slides.conftest import halved, write_ome
from .conftest import PixelModel

COLUMNS, ROWS, SIDE = 3, 2, 1000


@pytest.fixture(scope="module")
def store(shared_data, tmp_path_factory) -> Store:
    folder = tmp_path_factory.mktemp("store") / "monuseg"
    options = FolderOptions(only=["monuseg"], label_space="three")
    prepare_folder(shared_data, folder, options)
    return Store.open(folder)


def write_pyramid(path, image: np.ndarray, mpp: float) -> None:
    options = {
        "tile": (256, 256),
        "photometric": "rgb",
        "compression": "zlib",
        "resolutionunit": "CENTIMETER",
    }
    with tifffile.TiffWriter(path) as file:
        for step in (1, 4):
            per_cm = 1e4 / (mpp * step)
            file.write(image[::step, ::step], resolution=(per_cm, per_cm), **options)


def test_a_slide_of_known_nuclei_scores_as_its_tiles_do(store, tmp_path):
    images = np.full((ROWS * SIDE, COLUMNS * SIDE, 3), 255, np.uint8)
    truth = np.zeros(images.shape[:2], np.int32)
    model = load_model()
    alone = []
    for k, tile in enumerate(store.select([3])[: ROWS * COLUMNS].tolist()):
        labels, image = store.instances(tile), np.array(store.image(tile))
        assert image.shape == (SIDE, SIDE, 3)
        found = model.representation.decode(model.maps(image[None])[0]).labels
        alone.append(panoptic_counts(labels, found))
        place = np.s_[
            k // COLUMNS * SIDE : (k // COLUMNS + 1) * SIDE,
            k % COLUMNS * SIDE : (k % COLUMNS + 1) * SIDE,
        ]
        images[place] = image
        truth[place] = np.where(labels > 0, labels + truth.max(), 0)
    write_pyramid(tmp_path / "slide.tif", images, 0.25)
    summary = predict(
        [tmp_path / "slide.tif"], tmp_path / "out", PredictOptions(tile_px=768), model=model
    )
    assert not summary.failed
    assert summary.items[0].tiles_analysed > ROWS * COLUMNS
    nuclei = read_table(tmp_path / "out/slide/nuclei.parquet")
    joined = panoptic_counts(truth, nuclei.to_labels(*truth.shape))
    tp, fp, fn = (
        sum(float(getattr(counts, name)[0]) for counts in alone) for name in ("tp", "fp", "fn")
    )
    assert joined.dq[0] == pytest.approx(tp / (tp + fp / 2 + fn / 2), abs=0.01)
    assert joined.sq[0] == pytest.approx(
        np.average([c.sq[0] for c in alone], weights=[c.tp[0] for c in alone]), abs=0.01
    )
    # Centroids are those of the outlines' own pixels, to half a pixel.
    filled = nuclei.to_labels(*truth.shape)
    for i in range(0, len(nuclei), 97):
        y, x = np.nonzero(filled == i + 1)
        if abs(len(y) - nuclei.area_px[i]) < 1:
            assert (
                np.hypot(
                    x.mean() + 0.5 - nuclei.centroid[i, 0], y.mean() + 0.5 - nuclei.centroid[i, 1]
                )
                < 0.5
            )


@pytest.mark.parametrize("mpp_xy", [(0.15625, 0.25), (0.25, 0.3125), (0.25, 0.2525)])
def test_pixels_that_are_not_square(tmp_path, pixel_model, blobs, mpp_xy):
    height, width = blobs.shape[:2]
    size = round(width * 0.25 / mpp_xy[0]), round(height * 0.25 / mpp_xy[1])
    image = cv2.resize(blobs, size, interpolation=cv2.INTER_LINEAR)
    write_ome(tmp_path / "oblong.tif", [image, image[::2, ::2]], mpp=mpp_xy)
    write_ome(tmp_path / "square.tif", [blobs, blobs[::2, ::2]])
    summary = predict(
        [tmp_path / "oblong.tif", tmp_path / "square.tif"],
        tmp_path,
        PredictOptions(tile_px=256),
        model=pixel_model,
    )
    noted = ["made square" in " ".join(item.warnings) for item in summary.items]
    assert noted == [mpp_xy != (0.25, 0.2525), False]
    assert summary.items[0].mpp_xy == pytest.approx(mpp_xy)
    oblong, square = (
        read_table(tmp_path / name / "nuclei.parquet") for name in ("oblong", "square")
    )
    assert len(square) > 250
    # Resampled twice, blobs that nearly touch may join.
    assert abs(len(oblong) - len(square)) < 5
    truth = square.centroid * 0.25
    apart = np.linalg.norm(truth[:, None] - oblong.centroid * np.array(mpp_xy), axis=2)
    nearest = apart.argmin(axis=1)
    assert np.median(apart.min(axis=1)) < 0.05  # microns
    areas = oblong.area_um2[nearest] / square.area_um2
    assert 0.9 < np.median(areas) < 1.1
    assert oblong.features["eccentricity"].mean() < 0.35  # as they lie in the file: 0.6 and 0.78
    write_ome_tiff(tmp_path / "oblong/nuclei.parquet", tmp_path / "labels.ome.tif")
    with tifffile.TiffFile(tmp_path / "labels.ome.tif") as tiff:
        assert f'PhysicalSizeX="{mpp_xy[0]}"' in tiff.ome_metadata
        assert f'PhysicalSizeY="{mpp_xy[1]}"' in tiff.ome_metadata


def draw_discs(width: int, height: int, radius: int) -> tuple[np.ndarray, np.ndarray]:
    """Dark discs on pink, drawn to a quarter of a pixel, and their centres (x, y)."""
    rng = np.random.default_rng(0)
    image = np.full((height, width, 3), (230, 180, 210), np.uint8)
    image[::2, ::2] = (210, 160, 190)
    centres: list[tuple[float, float]] = []
    for _ in range(2000):
        x, y = rng.uniform(radius + 2, (width - radius - 2, height - radius - 2))
        if all((x - a) ** 2 + (y - b) ** 2 > (2 * radius + 8) ** 2 for a, b in centres):
            centres.append((float(x), float(y)))
    for x, y in centres:
        left, top, side = int(x - radius - 2), int(y - radius - 2), 2 * radius + 5
        at = (np.arange(4 * side) + 0.5) / 4
        inside = (at[None] + left - x) ** 2 + (at[:, None] + top - y) ** 2 <= radius**2
        share = inside.reshape(side, 4, side, 4).mean((1, 3))[..., None]
        window = image[top : top + side, left : left + side]
        window[:] = np.rint(window * (1 - share) + share * (60, 40, 110))
    return image, np.array(centres)


@pytest.mark.parametrize("model_mpp", [0.25, 0.3125, 0.5])
@pytest.mark.parametrize("mpp", [0.13, 0.25, 0.37, 0.499])
def test_centres_are_right_to_half_a_pixel(tmp_path, mpp, model_mpp):
    model = PixelModel(mpp=model_mpp)
    image, truth = draw_discs(1001, 803, radius=14)
    levels = [np.rint(halved(image.astype(float), step)).astype(np.uint8) for step in (2, 4)]
    write_ome(tmp_path / "discs.tif", [image, *levels], mpp=(mpp, mpp))
    assert not predict(
        [tmp_path / "discs.tif"], tmp_path / "out", PredictOptions(tile_px=256), model=model
    ).failed
    found = read_table(tmp_path / "out/discs/nuclei.parquet").centroid
    assert len(found) == len(truth) > 100
    apart = found[:, None] - truth[None]
    error = apart[np.arange(len(found)), np.hypot(*apart.T).T.argmin(1)]
    # Half a pixel of what the network sees, where that is coarser than the slide's.
    pixel = max(1.0, model_mpp / mpp)
    assert np.hypot(*error.T).max() < 0.5 * pixel
    assert np.abs(error.mean(0)).max() < 0.1 * pixel  # no shift
