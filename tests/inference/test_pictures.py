import cv2
import numpy as np
import pytest
from PIL import Image

from histonuc.exports import write_table
from histonuc.inference.pictures import (
    densest_window,
    density_map,
    draw_nuclei,
    with_legend,
    write_density,
    write_detail,
    write_pictures,
)
from histonuc.inference.progress import Tally
from histonuc.inference.tiles import Box
from histonuc.nuclei import Nuclei
from histonuc.slides import PlainImage, RegionError
from histonuc.taxonomy import PANNUKE


def squares(centres, side=20.0, class_index=0):
    centres = np.asarray(centres, float).reshape(-1, 2)
    corners = np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)]) * side
    probabilities = np.zeros((len(centres), 5), np.float32)
    probabilities[:, class_index] = 1
    return Nuclei(
        points=(centres[:, None] + corners).reshape(-1, 2),
        offsets=4 * np.arange(len(centres) + 1),
        centroid=centres,
        class_probabilities=probabilities,
        score=np.ones(len(centres), np.float32),
        label_space=PANNUKE,
        mpp=0.25,
    )


def written(nuclei, folder):
    """A table of nuclei, and their tally."""
    write_table(nuclei, folder / "nuclei.parquet")
    tally = Tally(label_space=PANNUKE, mpp=0.25)
    tally.add_nuclei(nuclei)
    return folder / "nuclei.parquet", tally


def is_coloured(image, colour):
    return np.abs(image.astype(int) - colour).max(-1) < 40


@pytest.mark.parametrize("class_index", range(5))
def test_nuclei_are_outlined_in_their_class_colour(class_index):
    image = np.full((100, 200, 3), 255, np.uint8)
    drawn = draw_nuclei(image, squares([(100, 50)], 20, class_index), Box(0, 0, 200, 100), 20)
    coloured = is_coloured(drawn, PANNUKE.colours[class_index])
    rows, columns = np.nonzero(coloured)
    assert abs(rows.min() - 40) <= 2
    assert abs(rows.max() - 60) <= 2
    assert abs(columns.min() - 90) <= 2
    assert abs(columns.max() - 110) <= 2
    assert not coloured[45:55, 95:105].any()
    assert (image == 255).all()


def test_small_nuclei_are_filled():
    image = np.full((50, 50, 3), 255, np.uint8)
    drawn = draw_nuclei(image, squares([(250, 250)], 40), Box(0, 0, 500, 500), 40)
    assert is_coloured(drawn, PANNUKE.colours[0])[24:26, 24:26].all()


def test_a_window_shows_its_nuclei_where_they_are():
    image = np.full((200, 200, 3), 255, np.uint8)
    nuclei = squares([(1050, 2020), (10, 10)])
    coloured = is_coloured(
        draw_nuclei(image, nuclei, Box(1000, 2000, 1100, 2100), 20), (255, 51, 51)
    )
    rows, columns = np.nonzero(coloured)
    assert abs((rows.min() + rows.max()) / 2 - 40) <= 1
    assert abs((columns.min() + columns.max()) / 2 - 100) <= 1


def test_the_densest_window_holds_the_cluster():
    rng = np.random.default_rng(0)
    spread, cluster = rng.uniform(0, 3000, (40, 2)), rng.uniform(1500, 1600, (60, 2))
    box = densest_window(np.concatenate([spread, cluster]), (3000, 3000), 400)
    assert box.size == (400, 400)
    assert box.x0 <= 1500
    assert box.y0 <= 1500
    assert box.x1 >= 1600
    assert box.y1 >= 1600


@pytest.mark.parametrize("size", [(1, 1), (30, 900), (400, 400), (401, 5000)])
def test_the_densest_window_stays_inside(size):
    for centroid in (np.zeros((0, 2)), np.array([(size[0] - 0.5, size[1] - 0.5)])):
        box = densest_window(centroid, size, 400)
        assert 0 <= box.x0 < box.x1 <= size[0]
        assert 0 <= box.y0 < box.y1 <= size[1]
    assert (box.x1, box.y1) == size  # the only nucleus sits in the last corner


def test_the_legend_is_below_and_leaves_the_image_alone():
    image = np.random.default_rng(0).integers(0, 256, (300, 500, 3), np.uint8)
    whole = with_legend(image, PANNUKE, [1, 0, 0, 0, 0], "a" * 300)
    assert np.array_equal(whole[:300], image)
    strip = whole[300:]
    for colour in PANNUKE.colours:
        assert (strip == colour).all(-1).any()
    assert with_legend(image[:, :3], PANNUKE, [0] * 5, "tiny").shape[1] == 360


def test_pictures_are_written_also_without_nuclei(tmp_path):
    slide = PlainImage(np.full((300, 3000, 3), 240, np.uint8), 0.25)
    for nuclei in (squares([(100, 100), (120, 180)]), squares([])):
        table, tally = written(nuclei, tmp_path)
        write_pictures(slide, table, tally, tmp_path, "slide")
        with Image.open(tmp_path / "density.jpg") as density:
            assert density.width == 2400
        with Image.open(tmp_path / "overview.jpg") as overview:
            assert overview.width == 2400
        with Image.open(tmp_path / "detail.jpg") as detail:
            assert detail.width == 1200


def test_damage_in_the_detail_costs_only_the_picture(tmp_path):
    class Damaged(PlainImage):
        def read(self, *window):
            raise RegionError("damaged", window[:4])

    slide = Damaged(np.full((300, 3000, 3), 240, np.uint8), 0.25)
    table, tally = written(squares([(100, 100)]), tmp_path)
    write_detail(slide, table, tally, tmp_path / "detail.jpg", "slide")
    with Image.open(tmp_path / "detail.jpg") as detail:
        assert detail.width == 1200


def test_density_is_nuclei_a_mm2_where_they_are(tmp_path):
    grid = np.stack(np.meshgrid(np.arange(5, 2000, 40), np.arange(5, 4000, 40)), -1).reshape(-1, 2)
    tally = Tally(label_space=PANNUKE, mpp=0.25)
    tally.add_nuclei(squares(grid))  # the left half of a slide: one in 10 µm x 10 µm
    found = density_map(tally, (4000, 4000), (400, 400))
    assert found[:, :100].mean() == pytest.approx(10_000, rel=0.02)
    assert found[:, 350:].max() < 1
    assert found.sum() * (10 * 0.25e-3) ** 2 == pytest.approx(len(grid), rel=0.01)
    assert density_map(Tally(label_space=PANNUKE, mpp=0.25), (40, 30), (8, 6)).max() == 0
    slide = PlainImage(np.full((4000, 4000, 3), 255, np.uint8))
    write_density(slide.thumbnail(2400), slide.size, tally, tmp_path / "density.jpg", "half")
    picture = np.asarray(Image.open(tmp_path / "density.jpg"))
    left, right = picture[1000, 500], picture[1000, 2300]
    assert left.min() < 100
    assert right.min() > 240


@pytest.mark.parametrize("size", [(3000, 4100), (20_000, 16_000)])
def test_density_is_that_of_a_gaussian_over_single_nuclei(size):
    rng = np.random.default_rng(0)
    centroid = (rng.beta(2, 4, (3000, 2)) * size).astype(np.float32)
    tally = Tally(label_space=PANNUKE, mpp=0.25)
    tally.add_nuclei(squares(centroid))
    width, height = size[0] // 10, size[1] // 10
    found = density_map(tally, size, (width, height))
    count = np.zeros((height, width), np.float32)
    column, row = (centroid / 10).astype(int).T
    np.add.at(count, (row, column), 1)
    wanted = cv2.GaussianBlur(count, (0, 0), 50 / 2.5, borderType=cv2.BORDER_REFLECT)
    assert np.abs(found * 0.0025**2 - wanted).max() < 0.01 * wanted.max()
