import numpy as np
import pytest

from histonuc.inference.tiles import Box
from histonuc.inference.tissue import find_tissue, is_blank, tissue_mask
from histonuc.slides import PlainImage, open_slide


@pytest.mark.parametrize(
    ("colour", "is_tissue"),
    [
        ((90, 60, 130), True),  # haematoxylin
        ((220, 130, 170), True),  # eosin
        ((235, 205, 222), True),  # pale stroma
        ((255, 255, 255), False),
        ((243, 243, 243), False),
        ((238, 240, 235), False),  # yellowish glass
        ((30, 150, 90), False),  # green pen
        ((40, 60, 200), False),  # blue pen
        ((18, 20, 24), False),  # black pen
    ],
)
def test_colours(colour, is_tissue):
    image = np.full((120, 120, 3), 244, np.uint8)
    image[30:90, 30:90] = colour
    mask = tissue_mask(image)
    assert mask[40:80, 40:80].all() == is_tissue
    assert mask[40:80, 40:80].any() == is_tissue
    assert not mask[:20].any()


def test_grey_images_are_judged_by_density_alone():
    image = np.full((60, 60, 3), 240, np.uint8)
    image[20:40, 20:40] = 90
    mask = tissue_mask(image)
    assert mask[22:38, 22:38].all()
    assert not mask[:10].any()


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("no-tissue-green-pen.png", 0.0, 0.001),
        ("almost-white-2.png", 0.0, 0.03),
        ("high-nuclei-score-level0.png", 0.95, 1.0),
        ("cmu-1-small-region.svs", 0.3, 0.45),
        ("tcga-cr-7395-01a-01-ts1.svs", 0.55, 0.75),
    ],
)
def test_real_images(shared_slides, name, low, high):
    with open_slide(shared_slides / name) as slide:
        assert low <= find_tissue(slide).fraction <= high


def test_boxes_are_asked_in_level_0_pixels():
    image = np.full((1000, 6000, 3), 245, np.uint8)
    image[400:600, 4000:4500] = (200, 120, 170)
    tissue = find_tissue(PlainImage(image))
    assert tissue.within(Box(4100, 450, 4110, 460)).all()
    assert tissue.within(Box(3000, 0, 6000, 1000)).sum() == tissue.mask.sum()
    assert not tissue.within(Box(0, 0, 3000, 1000)).any()
    assert tissue.bounds(Box(5000, 0, 6000, 1000)) is None
    assert tissue.bounds(Box(3000, 0, 6000, 1000)) == pytest.approx((4000, 400, 4500, 600), abs=20)
    assert tissue.fraction == pytest.approx(200 * 500 / 6e6, rel=0.2)


def test_blank(blobs):
    noise = np.random.default_rng(0).normal(240, 1, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    assert is_blank(noise)
    assert not is_blank(blobs)
