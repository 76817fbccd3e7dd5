"""A model without a network: its maps are an exact function of each pixel."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from histonuc.exports import read_table
from histonuc.inference.clock import Clock
from histonuc.inference.pipeline import analyse_and_store
from histonuc.inference.plan import make_plan
from histonuc.inference.progress import Meter, Tally
from histonuc.inference.results import ResultFolder
from histonuc.inference.slide import join_parts
from histonuc.models.model import ModelSpec
from histonuc.models.outputs import Outputs
from histonuc.models.trust import Trust
from histonuc.taxonomy import LABEL_SPACES, LabelSpace


class PixelModel:
    """Dark pixels are nuclei; redder ones of class 0, bluer ones of class 1."""

    def __init__(self, mpp: float = 0.25, space: LabelSpace = LABEL_SPACES["pannuke"]) -> None:
        self.name = "pixels"
        self.sha256 = "0" * 64
        self.precision = "fp32"
        self.trust: Trust | None = None
        self.spec = ModelSpec(trunk="pixels", representation="semantic", label_space=space, mpp=mpp)
        self.representation = self.spec.build_representation()
        self.num_images = 0

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.num_images += len(images)
        pixels = images.astype(np.float32)
        maps = np.zeros((len(images), self.representation.channels, *images.shape[1:3]), np.float32)
        dark = pixels[..., 0] < 120
        blue = pixels[..., 2] > pixels[..., 0]
        maps[:, 0] = np.where(dark, 0.1, 0.9)
        maps[:, 1] = np.where(dark & ~blue, 0.9, 0.05)
        maps[:, 2] = np.where(dark & blue, 0.9, 0.05)
        return maps

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        return Outputs(maps=self.maps(images))


def draw_blobs(size: tuple[int, int], num: int, seed: int = 0) -> NDArray[np.uint8]:
    """A pink RGB image with dark discs that do not touch: half red, half blue."""
    import cv2

    rng = np.random.default_rng(seed)
    width, height = size
    image = np.full((height, width, 3), (230, 180, 210), np.uint8)
    image[::2, ::2] = (210, 160, 190)
    placed: list[tuple[int, int, int]] = []
    for _ in range(num * 20):
        x, y, r = int(rng.integers(0, width)), int(rng.integers(0, height)), int(rng.integers(3, 9))
        if all((x - a) ** 2 + (y - b) ** 2 > (r + c + 3) ** 2 for a, b, c in placed):
            cv2.circle(image, (x, y), r, (90, 40, 60) if len(placed) % 2 else (60, 40, 110), -1)
            placed.append((x, y, r))
        if len(placed) == num:
            break
    return image


def run_slide(slide, source, model, path, **settings):
    """Plan, nuclei and skipped regions of an open slide, as `predict` finds them."""
    plan, folder, clock = (
        make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=model.spec.mpp, **settings),
        ResultFolder(path),
        Clock(),
    )
    folder.begin({})
    tally = Tally(label_space=model.spec.label_space, mpp=0.25)
    analysed = partial(analyse_and_store, slide, source, folder, model, plan, 3, clock)
    with folder.open_outputs(tally.empty, {}, geojson=False) as append:
        join_parts(plan, folder, analysed, append, tally, Meter(1, None, print), clock)
    return plan, read_table(folder.table), tally.skipped


@pytest.fixture
def run_on():
    return run_slide


@pytest.fixture
def pixel_model() -> PixelModel:
    return PixelModel()


@pytest.fixture
def blobs() -> NDArray[np.uint8]:
    return draw_blobs((700, 500), 300)


@pytest.fixture
def make_blobs():
    return draw_blobs
