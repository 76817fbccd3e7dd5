"""Lists of nuclei in order, and single nuclei."""

import numpy as np
import pytest

from histonuc.exports.table import read_table
from histonuc.viewing.errors import NotFoundError
from histonuc.viewing.listing import Order, list_nuclei

from .test_counting import passing

FILTERS = {"classes": [0, 2], "ranges": {"trust": [0.3, None]}}


def expected_rows(nuclei, name, descending, filters):
    values = {
        "id": np.arange(len(nuclei), dtype=float),
        "class": nuclei.class_index.astype(float),
        "score": np.floor(nuclei.score.astype(np.float64) * 255 + 0.5),
        "area_um2": nuclei.area_um2.astype(np.float32),
        "circularity": nuclei.features["circularity"],
        "p_Connective": nuclei.class_probabilities[:, 2],
    }[name]
    keys = np.where(np.isnan(values), np.inf, -values if descending else values)
    rows = np.lexsort((np.arange(len(keys)), keys))
    return rows[passing(nuclei, filters)[rows]]


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize(
    "name", ["id", "class", "score", "area_um2", "circularity", "p_Connective"]
)
def test_pages_follow_each_other(name, descending, client, made) -> None:
    rows = expected_rows(made.nuclei, name, descending, FILTERS)
    body = {"sort": name, "descending": descending, "filters": FILTERS, "limit": 500}
    found = []
    for offset in range(0, len(rows) + 500, 500):
        page = client.json("/api/slides/0/list", {**body, "offset": offset})
        assert (page["total"], page["offset"]) == (len(rows), offset)
        found += [row["id"] - 1 for row in page["rows"]]
    assert found == rows.tolist()


def test_the_page_of_a_nucleus_is_found(client, made) -> None:
    rows = expected_rows(made.nuclei, "class", False, FILTERS).tolist()
    body = {"sort": "class", "filters": FILTERS, "limit": 30}
    for place in (0, 29, 30, 777, len(rows) - 1):
        page = client.json("/api/slides/0/list", {**body, "around": rows[place] + 1})
        assert page["offset"] == place // 30 * 30
        assert rows[place] + 1 in [row["id"] for row in page["rows"]]


def test_a_nucleus_that_is_filtered_out_is_on_no_page(client, made, table) -> None:
    hidden = int(np.flatnonzero(made.nuclei.class_index == 1)[0])
    body = {"filters": {"classes": [0]}, "around": hidden + 1}
    assert client.ask("/api/slides/0/list", body)[0] == 404
    with pytest.raises(NotFoundError):
        list_nuclei(table, Order(), 10, around=len(made.nuclei))


def test_rows_have_what_was_asked_for(client, made) -> None:
    body = {"sort": "trust", "descending": True, "limit": 5, "columns": ["p_Connective"]}
    for row in client.json("/api/slides/0/list", body)["rows"]:
        i = row["id"] - 1
        assert (row["x"], row["y"]) == pytest.approx(made.nuclei.centroid[i], abs=0.006)
        assert row["class"] == made.nuclei.class_index[i]
        assert row["score"] == pytest.approx(made.nuclei.score[i], abs=0.5 / 255)
        assert row["area_um2"] == pytest.approx(made.nuclei.area_um2[i], rel=1e-5)
        assert row["value"] == row["trust"] == pytest.approx(made.nuclei.features["trust"][i])
        assert row["p_Connective"] == pytest.approx(made.nuclei.class_probabilities[i, 2], rel=1e-5)


def test_one_nucleus_has_its_row_and_its_outline(client, made) -> None:
    nuclei = read_table(made.folder / "nuclei.parquet")
    for number in (1, 777, len(nuclei)):
        found, i = client.json(f"/api/slides/0/nuclei/{number}"), number - 1
        assert found["id"] == found["row"]["id"] == number
        np.testing.assert_array_equal(found["outline"], nuclei.contour(i))
        assert found["box_xyxy"] == nuclei.select([i]).box[0].tolist()
        assert found["probabilities"] == pytest.approx(nuclei.class_probabilities[i].tolist())
        assert found["class_name"] == found["row"]["class"]
        assert "geometry" not in found["row"]
        value = nuclei.features["circularity"][i]
        assert found["row"]["circularity"] == (None if np.isnan(value) else pytest.approx(value))


@pytest.mark.parametrize("number", ["0", "4001", "-1", "a", "99999999999999999999"])
def test_a_nucleus_that_is_not_there(number, client) -> None:
    assert client.ask(f"/api/slides/0/nuclei/{number}")[0] == 404


@pytest.mark.parametrize(
    "body",
    [
        {"sort": "slide"},
        {"limit": 0},
        {"limit": 501},
        {"limit": "1"},
        {"offset": -1},
        {"around": 0},
        {"around": 1.5},
        {"columns": "score"},
        {"columns": ["region"]},
    ],
    ids=str,
)
def test_other_lists_are_refused(body, client) -> None:
    assert client.ask("/api/slides/0/list", body)[0] == 400
