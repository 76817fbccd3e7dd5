from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from histonuc.contours import trace_contours
from histonuc.inference.seams import Seams, _overlaps, _shared_area, claim_nuclei
from histonuc.inference.tiles import TileResult
from histonuc.inference.tissue import TissueMask
from histonuc.inference.windows import lay_tiles
from histonuc.nuclei import Nuclei
from histonuc.slides import PlainImage
from histonuc.taxonomy import NUCLEUS

from .conftest import PixelModel, draw_blobs, run_slide


def squares(centres, radius=5.0):
    """Nuclei that are squares of side 2 * radius."""
    centres = np.asarray(centres, float).reshape(-1, 2)
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * radius
    return Nuclei(
        points=(centres[:, None] + corners).reshape(-1, 2),
        offsets=4 * np.arange(len(centres) + 1),
        centroid=centres,
        class_probabilities=np.ones((len(centres), 1), np.float32),
        score=np.ones(len(centres), np.float32),
        label_space=NUCLEUS,
        mpp=0.25,
    )


def claim(tile, nuclei, status="found"):
    """What came of a tile in which all these nuclei were found."""
    nuclei, owned = claim_nuclei(nuclei, tile.core, band_px=10)
    return TileResult(tile=tile, status=status, nuclei=nuclei, owned=owned)


def join(results, tiles):
    """All tiles at once."""
    return Seams(tiles, Nuclei.empty(NUCLEUS, 0.25)).add(results)


def join_by_rows(results, tiles):
    """Tiles as they come, each row with what it settles."""
    seams = Seams(tiles, Nuclei.empty(NUCLEUS, 0.25))
    rows = sorted({result.tile.row for result in results})
    settled = []
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        tops = [tile.window.y0 for tile in tiles if tile.row == following]
        top = min(tops, default=np.inf)
        settled.append(seams.add([one for one in results if one.tile.row == row], top))
    return settled


def tile_tissue(mask, tile_px=120):
    """Tiles of a slide of which each pixel of the mask (h, w) is 20 level-0 pixels."""
    mask = np.asarray(mask, bool)
    size = 20 * mask.shape[1], 20 * mask.shape[0]
    return lay_tiles(TissueMask(mask, size), tile_px, (1.0, 1.0), 20)


PAIR = tile_tissue(np.ones((3, 10)), 160)
SQUARE = tile_tissue(np.ones((15, 15)))


@pytest.fixture
def pair():
    """Two tiles side by side; the seam is at x = 100."""
    left, right = PAIR
    assert left.core.x1 == right.core.x0 == 100
    return left, right


@pytest.mark.parametrize(
    ("in_left", "in_right", "kept"),
    [
        ([99.5], [99.5], [99.5]),  # agreed: the left core holds it
        ([100.0], [100.0], [100.0]),  # half open: the right core holds it
        ([99.0], [101.0], [99.0]),  # both own their version: one stays
        ([101.0], [99.0], [99.0]),  # both disown theirs: one stays all the same
        ([101.0], [], []),  # the owner of that place saw nothing
        ([50.0], [150.0], [50.0, 150.0]),
        ([92.0], [108.0], [92.0, 108.0]),  # neighbours, not the same
        ([], [], []),
    ],
)
def test_each_nucleus_is_kept_once(pair, in_left, in_right, kept):
    parts = [
        claim(tile, squares([(x, 30) for x in xs]))
        for tile, xs in zip(pair, (in_left, in_right), strict=True)
    ]
    assert join(parts, PAIR).centroid[:, 0].tolist() == kept


def test_what_lies_in_a_core_that_was_never_analysed_is_kept(pair):
    part = claim(pair[0], squares([(103, 30)]))
    assert len(join([part], PAIR)) == 1
    for status, kept in (("unreadable", 1), ("blank", 1), ("out of focus", 0)):
        assert len(join([part, claim(pair[1], squares([]), status)], PAIR)) == kept


def test_a_merged_blob_does_not_swallow_the_nucleus_it_disowns(pair):
    left, right = pair
    blob = squares([(103, 30)], radius=8)  # left saw one blob, and leaves it to the right
    two = squares([(98, 30), (108, 30)], radius=4)  # right saw two, and leaves one to the left
    parts = [claim(left, blob), claim(right, two)]
    assert join(parts, PAIR).centroid[:, 0].tolist() == [98, 108]


def jittered_parts(seed, jitter):
    """What the tiles of a slide see of one truth, each with its own error of up to `jitter`."""
    rng = np.random.default_rng(seed)
    truth = squares(np.stack(np.meshgrid(np.arange(8, 300, 13), np.arange(8, 300, 13)), -1))
    parts = []
    for tile in SQUARE:
        w = tile.window
        x, y = truth.centroid.T
        seen = truth.select((x >= w.x0) & (x < w.x1) & (y >= w.y0) & (y < w.y1))
        shift = rng.uniform(-jitter, jitter, (len(seen), 2))
        moved = replace(
            seen, points=seen.points + np.repeat(shift, 4, 0), centroid=seen.centroid + shift
        )
        parts.append(claim(tile, moved))
    return truth, parts


@given(seed=st.integers(0, 10_000), jitter=st.sampled_from([0.0, 1.0, 1.4]))
def test_jittered_tiles_lose_nothing_and_keep_nothing_twice(seed, jitter):
    truth, parts = jittered_parts(seed, jitter)
    result = join(parts, SQUARE)
    assert len(result) == len(truth)
    polygons = np.array([shapely.Polygon(result.contour(i)) for i in range(len(result))])
    first, second = shapely.STRtree(polygons).query(polygons, predicate="intersects")
    first, second = first[first < second], second[first < second]
    shared = shapely.area(shapely.intersection(polygons[first], polygons[second]))
    union = shapely.area(shapely.union(polygons[first], polygons[second]))
    assert (shared / union <= 0.5).all()


@given(seed=st.integers(0, 10_000), order=st.permutations(range(9)))
def test_the_order_of_the_tiles_does_not_matter(seed, order):
    _, parts = jittered_parts(seed, 1.4)
    parts = parts[:9]
    one, other = join(parts, SQUARE), join([parts[i] for i in order], SQUARE)
    assert np.array_equal(one.points, other.points)
    assert np.array_equal(one.centroid, other.centroid)


def test_no_tiles_give_no_nuclei():
    (tile,) = tile_tissue([[1]])
    assert len(join([], [tile])) == 0
    assert len(join([claim(tile, squares([]))], [tile])) == 0


GAPS = np.ones((15, 30))
GAPS[:, 13:17] = GAPS[6:9, :13] = 0
GAPS[7:, 17:] = 0
"""Three pieces of tissue: two on the left, and one on the right that is beside both."""


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        ((260, 60), 1),  # beyond the mask, but a window saw it
        ((100, 130), 1),  # the same, between two pieces
        ((100, 150), 1),
        ((300, 200), 0),  # no window is there
        ((350, 100), 1),
    ],
)
def test_nuclei_beside_the_tissue_are_kept_as_far_as_windows_show_them(at, kept):
    """Cores leave out the glass, where nobody may disown what another tile found."""
    tiles = tile_tissue(GAPS)
    assert {tile.row for tile in tiles} >= {0, 1, 2}
    parts = []
    for tile in tiles:
        w = tile.window
        seen = [at] if w.x0 <= at[0] < w.x1 and w.y0 <= at[1] < w.y1 else []
        parts.append(claim(tile, squares(seen, radius=3)))
    assert len(join(parts, tiles)) == kept
    assert sum(map(len, join_by_rows(parts, tiles))) == kept


@pytest.mark.parametrize("side", [(19, 3), (3, 19), (18, 18)])
def test_tissue_in_pieces_of_any_shape_loses_no_nucleus(side):
    """A nucleus on each pixel of the mask, near borders of cores as elsewhere."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        field = cv2.GaussianBlur(rng.normal(size=side[::-1]).astype(np.float32), (0, 0), 2)
        mask = field > np.quantile(field, rng.uniform(0.1, 0.9))
        rows, columns = np.nonzero(mask)
        truth = np.stack([columns, rows], 1) * 20 + rng.uniform(4, 16, (len(rows), 2))
        tiles = tile_tissue(mask)
        parts = []
        for tile in tiles:
            low, high = np.array(tile.window).reshape(2, 2)
            seen = truth[((truth >= low) & (truth < high)).all(1)]
            shifted = seen + rng.uniform(-0.7, 0.7, seen.shape)
            parts.append(claim(tile, squares(shifted, radius=3)))
        for found in (join(parts, tiles), Nuclei.concat(join_by_rows(parts, tiles))):
            assert len(found) == len(truth)
            apart = np.linalg.norm(found.centroid[:, None] - truth[None], axis=2)
            assert (apart.min(0) < 1).all()


@given(
    seed=st.integers(0, 10_000),
    jitter=st.sampled_from([0.0, 1.4, 6.0]),
    missing=st.sets(st.integers(0, 15), max_size=8),
)
def test_row_by_row_is_all_at_once(seed, jitter, missing):
    _, parts = jittered_parts(seed, jitter)
    parts = [part for i, part in enumerate(parts) if i not in missing]
    whole = join(parts, SQUARE)
    settled = join_by_rows(parts, SQUARE)
    streamed = Nuclei.concat(settled)
    one, other = (found.centroid[np.lexsort(found.centroid.T)] for found in (streamed, whole))
    assert np.array_equal(one, other)
    assert len(settled[0]) > 0 or not len(whole)


BLOBS = draw_blobs((700, 500), 300)
TILES = st.tuples(st.integers(96, 640), st.floats(5, 25)).filter(lambda t: t[0] >= 12 * t[1])
"""Side in pixels of 0.25 microns, and halo in microns: at most a third of it."""


def analyse_blobs(model, tile_px, margin_um):
    """Nuclei of the blobs by the whole pipeline, from left to right."""
    with TemporaryDirectory() as folder:
        slide, out = PlainImage(BLOBS, 0.25), Path(folder)
        options = {"tile_px": tile_px, "margin_um": margin_um}
        _, nuclei, _ = run_slide(slide, out, model, out / "result", **options)
    return nuclei.select(np.lexsort(nuclei.centroid.T))


@cache
def whole_blobs():
    whole = analyse_blobs(PixelModel(), 1000, 8)
    assert len(whole) == 300
    return whole


@given(tiles=TILES)
def test_tiled_equals_whole(tiles):
    whole, tiled = whole_blobs(), analyse_blobs(PixelModel(), *tiles)
    assert len(tiled) == len(whole)
    assert np.allclose(tiled.centroid, whole.centroid, atol=1e-9)
    assert np.array_equal(tiled.class_index, whole.class_index)
    assert np.array_equal(tiled.area_px, whole.area_px)
    assert np.allclose(tiled.box, whole.box)


@given(tiles=TILES, seed=st.integers(0, 10_000))
def test_tiles_that_see_nuclei_elsewhere_lose_none_cut_none_and_keep_none_twice(tiles, seed):
    rng = np.random.default_rng(seed)

    class Jittered(PixelModel):
        def maps(self, images):
            return np.roll(super().maps(images), rng.integers(0, 2, 2), axis=(2, 3))

    whole, found = whole_blobs(), analyse_blobs(Jittered(), *tiles)
    inner = ((whole.box[:, :2] > 1) & (whole.box[:, 2:] < np.array([699, 499]))).all(1)
    apart = np.linalg.norm(whole.centroid[:, None] - found.centroid[None] + 0.5, axis=2)
    assert ((apart < 1.5).sum(1)[inner] == 1).all()
    area = found.area_px[apart.argmin(1)]
    assert np.array_equal(area[inner], whole.area_px[inner])


@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 0.97, 2.013]))
def test_shared_area_is_that_of_the_polygons(seed, scale):
    rng = np.random.default_rng(seed)
    outlines = []
    for _ in range(2):
        blob = (cv2.GaussianBlur(rng.random((30, 40)), (0, 0), 1.5) > 0.45).astype(np.int32)
        blob[15, 20] = 1
        points, _ = trace_contours(blob, 1)
        outlines.append(points * scale + rng.integers(0, 5, 2))
    polygons = [shapely.make_valid(shapely.Polygon(points)) for points in outlines]
    wanted = shapely.area(shapely.intersection(*polygons))
    assert _shared_area(*outlines) == pytest.approx(wanted, abs=1e-6)


def test_pairs_are_those_of_all_outlines_of_other_tiles_that_share_over_half():
    rng = np.random.default_rng(0)
    nuclei, tile = squares(rng.uniform(0, 120, (200, 2))), rng.integers(0, 3, 200)
    polygons = shapely.polygons(nuclei.points.reshape(-1, 4, 2))
    wanted = {
        (i, j)
        for i in range(200)
        for j in range(i + 1, 200)
        if tile[i] != tile[j] and shapely.area(shapely.intersection(*polygons[[i, j]])) > 50
    }
    first, second = _overlaps(nuclei, tile)
    assert len(wanted) > 50
    assert set(zip(first.tolist(), second.tolist(), strict=True)) == wanted
