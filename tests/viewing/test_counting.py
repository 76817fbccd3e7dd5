"""Densities, counts and histograms under filters, against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.exports.table import read_table
from histonuc.viewing.density import (
    MAX_BYTES,
    choose_grid,
    count_classes,
    count_histogram,
    density_arrays,
)
from histonuc.viewing.errors import RequestError
from histonuc.viewing.filters import Filters, in_range, parse_filters
from histonuc.viewing.squares import list_grids
from histonuc.viewing.wire import unpack

from .made_result import MPP, SIZE

FILTERS = [
    {},
    {"classes": [0, 2]},
    {"classes": []},
    {"ranges": {"score": [0.7, None]}},
    {"ranges": {"probability": [0.4, 0.6], "area_um2": [20, 100]}},
    {"ranges": {"circularity": [None, 0.5], "trust": [0.25, 0.75]}, "classes": [1]},
    {"ranges": {"circularity": [None, None]}},
]


def passing(nuclei, filters):
    """The rule of the protocol, written out: what the page does."""
    passes = np.ones(len(nuclei), bool)
    if "classes" in filters:
        passes &= np.isin(nuclei.class_index, filters["classes"])
    stored = {
        "probability": (nuclei.class_probabilities.max(axis=1), 1 / 255),
        "score": (nuclei.score, 1 / 255),
        "area_um2": (nuclei.area_um2, 1 / 16),
        "circularity": (nuclei.features["circularity"], None),
        "trust": (nuclei.features["trust"], None),
    }
    for name, (low, high) in filters.get("ranges", {}).items():
        values, step = stored[name]
        if step is None:
            low = -np.inf if low is None else np.float32(low)
            high = np.inf if high is None else np.float32(high)
        else:
            values = np.floor(values.astype(np.float32).astype(float) / step + 0.5)
            low = -np.inf if low is None else np.ceil(low / step - 1e-6)
            high = np.inf if high is None else np.floor(high / step + 1e-6)
        passes &= (values >= low) & (values <= high)
    return passes


def counted(nuclei, passes, cell, shape):
    counts = np.zeros(shape, int)
    place = (np.round(nuclei.centroid[passes] * 2048) // (2048 * cell)).astype(int)
    kind = nuclei.class_index[passes]
    np.add.at(
        counts, (kind, place[:, 1].clip(0, shape[1] - 1), place[:, 0].clip(0, shape[2] - 1)), 1
    )
    return counts


@pytest.mark.parametrize("filters", FILTERS, ids=str)
def test_densities_obey_every_filter(filters, client, made) -> None:
    status, content, _ = client.ask("/api/slides/0/density", {"filters": filters})
    assert status == 200
    facts, arrays = unpack(content)
    shape = facts["num_classes"], facts["rows"], facts["columns"]
    passes = passing(made.nuclei, filters)
    expected = counted(made.nuclei, passes, facts["cell_px"], shape)
    np.testing.assert_array_equal(arrays["counts"].reshape(shape), expected)
    assert facts["totals"] == expected.sum(axis=(1, 2)).tolist()
    assert facts["max"] == expected.max()
    answer = client.json("/api/slides/0/counts", {"filters": filters})
    assert answer == {"total": passes.sum(), "by_class": facts["totals"]}


@pytest.mark.parametrize("column", ["probability", "area_um2", "circularity", "trust"])
def test_densities_have_the_means_of_a_column(column, client, made) -> None:
    filters = {"ranges": {"trust": [0.25, None]}}
    body = {"filters": filters, "mean": column}
    facts, arrays = unpack(client.ask("/api/slides/0/density", body)[1])
    shape = facts["num_classes"], facts["rows"], facts["columns"]
    values = {
        "probability": made.nuclei.class_probabilities.max(axis=1),
        "area_um2": made.nuclei.area_um2,
        **made.nuclei.features,
    }[column]
    valued, sums = np.zeros(shape, int), np.zeros(shape)
    passes = passing(made.nuclei, filters) & ~np.isnan(values)
    place = (np.round(made.nuclei.centroid[passes] * 2048) // (2048 * facts["cell_px"])).astype(int)
    cells = (
        made.nuclei.class_index[passes],
        place[:, 1].clip(0, shape[1] - 1),
        place[:, 0].clip(0, shape[2] - 1),
    )
    np.add.at(valued, cells, 1)
    np.add.at(sums, cells, values[passes])
    np.testing.assert_array_equal(arrays["valued"].reshape(shape), valued)
    means = arrays["sums"].reshape(shape)[valued > 0] / valued[valued > 0]
    np.testing.assert_allclose(means, sums[valued > 0] / valued[valued > 0], atol=0.5 / 255)
    assert client.ask("/api/slides/0/density", {"mean": "nothing"})[0] == 400


@pytest.mark.parametrize("way_round", [1, -1])
def test_a_turned_view_counts_and_lists_what_lies_in_it(way_round, client, made) -> None:
    corners = np.array([[1250, 300], [1900, 850], [1250, 1400], [600, 850]])[::way_round]
    x, y = np.abs(made.nuclei.centroid - (1250, 850)).T
    inside = x / 650 + y / 550 <= 1
    body = {"corners": corners.tolist()}
    assert client.json("/api/slides/0/counts", body)["total"] == inside.sum()
    ids = {row["id"] for row in client.json("/api/slides/0/list", body | {"limit": 500})["rows"]}
    assert ids <= set(np.flatnonzero(inside) + 1)
    assert client.json("/api/slides/0/list", body)["total"] == inside.sum()


@pytest.mark.parametrize(
    "corners", [[], [[0, 0]] * 9, [[0, 0], [1, 1], 5], [[0, 0], [1, 1], [None, 1]]]
)
def test_corners_that_are_none_are_refused(corners, client) -> None:
    assert client.ask("/api/slides/0/counts", {"corners": corners})[0] == 400


END = st.none() | st.floats(-10, 6000) | st.integers(-32, 150_000).map(lambda k: k / 32)


@given(low=END, high=END)
def test_areas_pass_as_their_rounded_values_do(low, high, table) -> None:
    column = table.column("area_um2")
    values = (np.arange(150_000) / 32).astype(np.float32)
    stored = np.minimum(np.floor(values * 16 + 0.5), 65_535)
    assert (column.quantised(values) == stored).all()
    least = -np.inf if low is None else np.ceil(low * 16 - 1e-6)
    most = np.inf if high is None else np.floor(high * 16 + 1e-6)
    found = in_range(column, values, *column.bounds(low, high))
    np.testing.assert_array_equal(found, (stored >= least) & (stored <= most))


def test_cells_are_32_microns_and_larger_where_there_would_be_too_many() -> None:
    grid = choose_grid(SIZE, list_grids(SIZE, MPP)[0], 3)
    assert (grid.cell_px, grid.columns, grid.rows) == (128, 20, 14)
    size = (200_000, 200_000)
    grid = choose_grid(size, list_grids(size, MPP)[0], 5)
    assert 2 * 5 * grid.columns * grid.rows <= MAX_BYTES < 2 * 5 * 4 * grid.columns * grid.rows
    assert grid.columns * grid.cell_px >= 200_000


def test_large_counts_get_four_bytes() -> None:
    grid = choose_grid(SIZE, list_grids(SIZE, MPP)[0], 1)
    _, arrays = density_arrays(np.full((1, 2, 2), 65_535, np.uint32), grid)
    assert arrays["counts"].dtype == np.uint16
    _, arrays = density_arrays(np.full((1, 2, 2), 65_536, np.uint32), grid)
    assert arrays["counts"].dtype == np.uint32


def test_a_box_is_half_open(table, made) -> None:
    box = (0.0, 0.0, 1024.0, 512.0)
    inside = (made.nuclei.centroid < (1024, 512)).all(axis=1)
    assert sum(count_classes(table, Filters(box_xyxy=box))) == inside.sum()


@pytest.mark.parametrize("name", ["area_um2", "score", "circularity", "trust"])
def test_histograms_count_every_nucleus_once(name, table, made, client) -> None:
    nuclei = read_table(made.folder / "nuclei.parquet")
    values = {"area_um2": nuclei.area_um2, "score": nuclei.score} | dict(nuclei.features)
    values = np.asarray(values[name], np.float32)
    low, high = np.nanquantile(values, 0.1), np.nanquantile(values, 0.9)
    body = {"column": name, "bins": 16, "low": float(low), "high": float(high)}
    answer = client.json("/api/slides/0/histogram", body)
    counts = np.array(answer["counts"])
    missing, outside = answer["missing"], answer["below"] + answer["above"]
    assert counts.shape == (3, 16)
    assert missing == np.isnan(values).sum()
    assert counts.sum() + missing + outside == len(nuclei)
    if name in ("circularity", "trust"):
        for kind in range(3):
            expected, _ = np.histogram(values[nuclei.class_index == kind], 16, (low, high))
            assert np.abs(counts[kind] - expected).sum() <= 2  # ends of bins are rounded


def test_a_histogram_of_the_whole_range_leaves_nobody_out(client, made) -> None:
    for name in ("area_um2", "score", "trust"):
        answer = client.json("/api/slides/0/histogram", {"column": name, "bins": 7})
        assert answer["below"] + answer["above"] + answer["missing"] == 0
        assert np.sum(answer["counts"]) == len(made.nuclei)


def test_one_value_is_one_bin(table, made) -> None:
    counts = count_histogram(table, table.column("score"), 4, (0.0, 0.0))
    assert counts[:, :4].sum() == 0
    assert counts.sum() == len(made.nuclei)


@pytest.mark.parametrize(
    "body",
    [
        {"filters": []},
        {"filters": {"class": [0]}},
        {"filters": {"classes": [3]}},
        {"filters": {"classes": [True]}},
        {"filters": {"classes": "0"}},
        {"filters": {"ranges": {"slide": [0, 1]}}},
        {"filters": {"ranges": {"score": [0, 1, 2]}}},
        {"filters": {"ranges": {"score": ["0", 1]}}},
        {"filters": {"ranges": {"score": [1e400, 1]}}},
        {"filters": {"ranges": [1]}},
        {"box_xyxy": [0, 0, 1]},
        {"box_xyxy": [0, 0, 1, None]},
    ],
    ids=str,
)
def test_other_filters_are_refused(body, table) -> None:
    with pytest.raises(RequestError, match="Expected"):
        parse_filters(body, table.columns, 3)


@pytest.mark.parametrize(
    "body",
    [
        {"column": "slide"},
        {"column": "score", "bins": 0},
        {"column": "score", "bins": 257},
        {"column": "score", "bins": 2.5},
        {"column": "score", "low": 1, "high": 0},
        {"column": "score", "low": "a"},
        {},
    ],
    ids=str,
)
def test_other_histograms_are_refused(body, client) -> None:
    assert client.ask("/api/slides/0/histogram", body)[0] == 400
