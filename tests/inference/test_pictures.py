import cv2
import numpy as np
import pytest
from PIL import Image

from histonuc.exports import write_table
from histonuc.inference.density import density_map, write_class_densities, write_density
from histonuc.inference.legend import with_legend
from histonuc.inference.pictures import densest_window, draw_nuclei, write_detail, write_pictures
from histonuc.inference.progress import Tally
from histonuc.inference.tiles import Box
from histonuc.inference.tissue import TissueMask
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
        write_pictures(slide, table, all_tissue(slide.size), tally, tmp_path, "slide")
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


def all_tissue(size):
    return TissueMask(mask=np.ones((64, 64), bool), size=size)


def tally_of(nuclei):
    tally = Tally(label_space=PANNUKE, mpp=0.25)
    tally.add_nuclei(nuclei)
    return tally


GRID = np.stack(np.meshgrid(np.arange(5, 2000, 40), np.arange(5, 4000, 40)), -1).reshape(-1, 2)
"""One nucleus in 10 µm x 10 µm of the left half of a slide of 4000 x 4000 px."""


def test_density_is_nuclei_a_mm2_where_they_are(tmp_path):
    tally, size = tally_of(squares(GRID)), (4000, 4000)
    found = density_map(tally.centroid, 0.25, all_tissue(size), (400, 400))
    assert found[:, :100].mean() == pytest.approx(10_000, rel=0.02)
    assert found[:, 350:].max() < 1
    assert found.sum() * (10 * 0.25e-3) ** 2 == pytest.approx(len(GRID), rel=0.01)
    nothing = np.zeros((0, 2), np.float32)
    assert density_map(nothing, 0.25, all_tissue((40, 30)), (8, 6)).max() == 0
    slide = PlainImage(np.full((4000, 4000, 3), 255, np.uint8))
    picture = slide.thumbnail(2400)
    write_density(picture, all_tissue(size), tally, tmp_path / "density.jpg", "half")
    drawn = np.asarray(Image.open(tmp_path / "density.jpg"))
    assert drawn[1000, 500].min() < 100
    assert drawn[1000, 2300].min() > 240


def test_density_neither_bleeds_over_glass_nor_fades_at_the_border_of_tissue(tmp_path):
    mask = np.zeros((64, 64), bool)
    mask[:, :32] = True
    tissue, tally = TissueMask(mask=mask, size=(4000, 4000)), tally_of(squares(GRID))
    found = density_map(tally.centroid, 0.25, tissue, (400, 400))
    assert not found[:, 201:].any()
    # Averaged over the glass as well, it would be half of that at the border.
    assert found[:, :199] == pytest.approx(10_000, rel=0.1)
    glass = np.full((400, 400, 3), 240, np.uint8)
    write_density(glass, tissue, tally, tmp_path / "density.jpg", "half")
    drawn = np.asarray(Image.open(tmp_path / "density.jpg"), int)[:400]
    assert np.abs(drawn[:, 208:] - 240).max() < 12  # but for JPEG
    assert np.abs(drawn[:, :192] - 240).max(-1).min() > 40


def test_each_class_has_a_density_of_its_own(tmp_path):
    left, right = GRID[GRID[:, 0] < 1000], GRID + np.array([2000, 0])
    nuclei = Nuclei.concat([squares(left, class_index=1), squares(right, class_index=2)])
    picture = np.full((400, 400, 3), 255, np.uint8)
    path = tmp_path / "classes.jpg"
    write_class_densities(picture, all_tissue((4000, 4000)), tally_of(nuclei), path, "two")
    drawn = np.asarray(Image.open(path), int)
    width = drawn.shape[1] // 2  # a panel, wider than its picture of 200 px for the legend
    is_coloured = (np.abs(drawn - 255).max(-1) > 40)[:200]
    first, second = is_coloured[:, :200], is_coloured[:, width : width + 200]
    assert first[50:150, :40].all()
    assert not first[:, 120:].any()
    assert second[50:150, 120:].all()
    assert not second[:, :80].any()


@pytest.mark.parametrize("side", [256, 512, 513])
def test_a_tile_gets_one_picture(tmp_path, side):
    slide = PlainImage(np.full((side, side, 3), 240, np.uint8), 0.25)
    table, tally = written(squares([(100, 100), (120, 180)]), tmp_path)
    (tmp_path / "detail.jpg").write_text("of an earlier result")
    write_pictures(slide, table, all_tissue(slide.size), tally, tmp_path, "tile")
    pictures = sorted(path.name for path in tmp_path.glob("*.jpg"))
    one = ["overview.jpg"]
    assert pictures == (one if side <= 512 else ["density.jpg", "detail.jpg", *one])
    with Image.open(tmp_path / "overview.jpg") as overview:
        assert overview.width == (1200 if side <= 512 else side)


@pytest.mark.parametrize("size", [(3000, 4100), (20_000, 16_000)])
def test_density_is_that_of_a_gaussian_over_single_nuclei(size):
    rng = np.random.default_rng(0)
    centroid = (rng.beta(2, 4, (3000, 2)) * size).astype(np.float32)
    width, height = size[0] // 10, size[1] // 10
    found = density_map(centroid, 0.25, all_tissue(size), (width, height))
    count = np.zeros((height, width), np.float32)
    column, row = (centroid / 10).astype(int).T
    np.add.at(count, (row, column), 1)
    wanted = cv2.GaussianBlur(count, (0, 0), 50 / 2.5, borderType=cv2.BORDER_REFLECT)
    assert np.abs(found * 0.0025**2 - wanted).max() < 0.01 * wanted.max()
