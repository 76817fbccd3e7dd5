import cv2
import numpy as np
import pytest
from PIL import Image

from histonuc.inference.tiles import Box
from histonuc.inference.ink import find_ink
from histonuc.inference.tissue import find_tissue, is_blank, tissue_mask
from histonuc.slides import PlainImage, open_slide

from ..slides.conftest import write_pyramid


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


INKS = {
    "green": (30, 150, 90),
    "cyan": (40, 170, 160),
    "blue": (37, 95, 160),
    "violet": (60, 45, 190),
    "red": (215, 25, 45),
    "black": (25, 24, 28),
}


def drawn_over(picture, ink, width=90):
    """A marker's stroke over a picture, as thick ink lies on glass, and where it is."""
    stroke = np.zeros(picture.shape[:2], np.uint8)
    height, across = stroke.shape
    cv2.line(stroke, (0, height // 4), (across, 3 * height // 4), 255, width)
    soft = cv2.GaussianBlur(stroke, (0, 0), 4)[..., None] / 255
    density = -np.log10((np.array(ink) + 1) / 256)
    light = (picture.astype(float) + 1) * 10 ** (-density * soft) - 1
    return light.clip(0, 255).round().astype(np.uint8), stroke > 0


@pytest.mark.parametrize("ink", INKS)
@pytest.mark.parametrize("name", ["consep/images/train_5.jpg", "monuseg/images/*.jpg"])
def test_ink_over_tissue_and_glass_is_left_out(shared_data, ink, name):
    tile = np.asarray(Image.open(next(iter(sorted(shared_data.glob(name))))))
    picture = np.full((1000, 2000, 3), 243, np.uint8)
    picture[:, :1000] = tile[:1000, :1000]
    with_ink, stroke = drawn_over(picture, INKS[ink])
    before = find_tissue(PlainImage(picture)).mask
    after = find_tissue(PlainImage(with_ink)).mask
    on_tissue, on_glass = np.array_split(stroke, 2, axis=1)
    assert after[:, 1000:][on_glass].mean() < 0.02
    if ink != "violet":  # through which dense purple tissue shows as such
        assert after[:, :1000][on_tissue].mean() < 0.4
    away = cv2.dilate(stroke.view(np.uint8), np.ones((99, 99), np.uint8)) == 0
    assert after[away & before].mean() > 0.99
    assert after[away & ~before].mean() < 0.01


def test_no_tissue_is_taken_for_ink(shared_data):
    """Every eighth image, pale, dark and bloody ones among them; consep's are known to have ink."""
    files = sorted(shared_data.glob("[!c]*/images/*.jpg"))[::8]
    assert len(files) > 80
    for file in files:
        small = cv2.imread(str(file), cv2.IMREAD_REDUCED_COLOR_8)[..., ::-1]
        assert not find_ink(PlainImage(small), np.ascontiguousarray(small)).any(), file.name


@pytest.mark.parametrize(("name", "share"), [("train_2", 0.14), ("train_12", 0.04)])
def test_real_margin_ink(shared_data, name, share):
    image = np.asarray(Image.open(shared_data / f"consep/images/{name}.jpg"))
    assert find_ink(PlainImage(image), image).mean() == pytest.approx(share, rel=0.3)


def test_boxes_are_asked_in_level_0_pixels():
    image = np.full((1000, 6000, 3), 245, np.uint8)
    image[400:600, 4000:4500] = (200, 120, 170)
    tissue = find_tissue(PlainImage(image))
    assert tissue.touches(Box(4100, 450, 4110, 460))
    assert tissue.touches(Box(3000, 0, 6000, 1000))
    assert not tissue.touches(Box(0, 0, 3000, 1000))
    assert not tissue.touches(Box(5000, 0, 6000, 1000))
    assert tissue.fraction == pytest.approx(200 * 500 / 6e6, rel=0.2)


def test_blank(blobs):
    noise = np.random.default_rng(0).normal(240, 1, (64, 64, 3)).clip(0, 255).astype(np.uint8)
    assert is_blank(noise)
    assert not is_blank(blobs)


def test_nuclei_under_ink_are_not_counted(tmp_path, pixel_model, make_blobs, run_on):
    image = make_blobs((900, 700), 400)
    image[:, 300:500] = image[:, 300:500] * np.array([0.15, 0.6, 0.35])  # a green stroke
    write_pyramid(tmp_path / "a.tif", [image, image[::2, ::2]])
    with open_slide(tmp_path / "a.tif") as slide:
        _, nuclei, _ = run_on(
            slide, tmp_path / "a.tif", pixel_model, tmp_path / "out", tile_px=200, margin_um=8
        )
    x = nuclei.centroid[:, 0]
    assert not ((x > 310) & (x < 490)).any()
    assert (x < 280).sum() > 50 < (x > 520).sum()
