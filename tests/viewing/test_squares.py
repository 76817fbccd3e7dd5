"""Every buffer of nuclei, decoded as the page decodes it, against the table."""

import json
import struct
from dataclasses import replace

import numpy as np
import pytest
import shapely

from histonuc.viewing.errors import RequestError
from histonuc.viewing.kernels import FIXED
from histonuc.viewing.serving import serve
from histonuc.viewing.squares import DETAILS, TOLERANCE_UM, list_grids, read_square
from histonuc.viewing.wire import pack, unpack

from .conftest import Client
from .made_result import MPP, SIZE, write_rows


def grids():
    return list_grids(SIZE, MPP)


def squares(grid):
    return [(column, row) for row in range(grid.rows) for column in range(grid.columns)]


def test_the_bytes_are_as_the_protocol_says() -> None:
    data = pack({"z": 3}, {"id": np.array([7, 9, 11], np.uint32), "class": np.array([1], np.uint8)})
    assert data[:4] == b"HNV1"
    (length,) = struct.unpack("<I", data[4:8])
    header = json.loads(data[8 : 8 + length])
    assert (length % 8, len(data) % 8) == (0, 0)
    assert header == {
        "z": 3,
        "arrays": [
            {"name": "id", "type": "u32", "length": 3, "offset": 0},
            {"name": "class", "type": "u8", "length": 1, "offset": 16},
        ],
    }
    assert struct.unpack_from("<3I", data, 8 + length) == (7, 9, 11)
    with pytest.raises(ValueError, match="HNV1"):
        unpack(b"HNV2" + data[4:])


def test_the_grids_have_sides_of_powers_of_two() -> None:
    assert [grid.side_px for grid in grids()] == [1024, 2048, 4096, 8192]
    assert [(grid.columns, grid.rows) for grid in grids()] == [(3, 2), (2, 1), (1, 1), (1, 1)]
    assert [grid.side_px for grid in list_grids(SIZE, 0.5)] == [512, 1024, 2048, 4096]
    assert list_grids(SIZE, None)[0].side_px == 1024


@pytest.mark.parametrize("level", range(4))
def test_every_nucleus_is_in_the_one_square_of_its_centroid(level, table, made) -> None:
    grid, found = grids()[level], []
    for place in squares(grid):
        facts, arrays = unpack(read_square(table, grid, place))
        rows = arrays["id"].astype(int) - 1
        assert facts["count"] == len(rows)
        assert (np.diff(rows) > 0).all()
        centroid = made.nuclei.centroid[rows]
        assert (np.floor(np.round(centroid * FIXED) / FIXED / grid.side_px) == place).all()
        position = np.stack([arrays["x"], arrays["y"]], axis=1) * facts["unit_px"]
        away = centroid - position - facts["origin_px"]
        assert (np.abs(away) <= facts["unit_px"] + 1 / FIXED).all()
        assert (arrays["class"] == made.nuclei.class_index[rows]).all()
        best = made.nuclei.class_probabilities[rows].max(axis=1)
        assert (np.abs(arrays["probability"] / 255 - best) <= 0.5 / 255 + 1e-6).all()
        found.append(rows)
    assert sorted(np.concatenate(found)) == list(range(len(made.nuclei)))


def test_columns_come_in_the_order_of_the_ids(table, made) -> None:
    names = ("score", "area_um2", "circularity", "p_Connective", "trust")
    columns = [table.column(name) for name in names]
    for detail in ("points", "none"):
        _, arrays = unpack(read_square(table, grids()[0], (1, 1), detail, columns))
        rows = arrays["id"].astype(int) - 1
        nuclei = made.nuclei.select(rows)
        assert (np.abs(arrays["score"] / 255 - nuclei.score) <= 0.5 / 255 + 1e-6).all()
        assert (np.abs(arrays["area_um2"] / 16 - nuclei.area_um2) <= 0.5 / 16 + 1e-3).all()
        assert arrays["area_um2"].dtype == np.uint16
        for name in ("circularity", "trust"):
            np.testing.assert_array_equal(arrays[name], nuclei.features[name])
        assert (arrays["p_Connective"] == nuclei.class_probabilities[:, 2]).all()
        assert ("x" in arrays) == (detail == "points")


def test_full_outlines_are_those_of_the_table(table, made) -> None:
    for level in (0, 1):
        grid = grids()[level]
        for place in squares(grid):
            facts, arrays = unpack(read_square(table, grid, place, "full", (), MPP))
            nuclei = made.nuclei.select(arrays["id"].astype(int) - 1)
            assert (arrays["offsets"] == nuclei.offsets).all()
            vertices = arrays["vertices"].reshape(-1, 2) * facts["unit_px"] + facts["origin_px"]
            assert (np.abs(vertices - nuclei.points) <= facts["unit_px"] / 2).all()


@pytest.mark.parametrize("detail", ["rough", "coarse", "fine"])
def test_simpler_outlines_stay_near_those_of_the_table(detail, table, made) -> None:
    grid = grids()[0]
    facts, arrays = unpack(read_square(table, grid, (1, 0), detail, (), MPP))
    vertices = arrays["vertices"].reshape(-1, 2) * facts["unit_px"] + facts["origin_px"]
    nuclei = made.nuclei.select(arrays["id"].astype(int) - 1)
    most = TOLERANCE_UM[detail] / MPP + facts["unit_px"]
    assert len(vertices) < len(nuclei.points)
    for i in range(len(nuclei)):
        ring = vertices[arrays["offsets"][i] : arrays["offsets"][i + 1]]
        assert len(ring) >= 3
        line = shapely.LinearRing(ring)
        assert shapely.distance(line, shapely.points(nuclei.contour(i))).max() <= most


def test_a_square_without_nuclei_has_empty_arrays(table) -> None:
    (grid,) = [grid for grid in list_grids((1 << 14, 1 << 14), MPP) if grid.level == 0]
    facts, arrays = unpack(read_square(table, grid, (10, 10), "full"))
    assert (facts["count"], len(arrays["x"]), arrays["offsets"].tolist()) == (0, 0, [0])


def test_outlines_of_large_squares_are_refused(table) -> None:
    with pytest.raises(RequestError, match="points"):
        read_square(table, grids()[2], (0, 0), "full")


def test_the_server_gives_the_same_buffers(client, table) -> None:
    for detail in DETAILS:
        path = f"/api/slides/0/squares/0/1/1?detail={detail}&columns=score,circularity"
        status, content, headers = client.ask(path)
        assert (status, headers["content-type"]) == (200, "application/octet-stream")
        columns = [table.column(name) for name in ("score", "circularity")]
        assert content == read_square(table, grids()[0], (1, 1), detail, columns, MPP)


def test_names_of_columns_may_have_commas(tmp_path, made) -> None:
    nuclei = made.nuclei
    odd = replace(nuclei, features={"a, b": nuclei.features["trust"]})
    write_rows(odd, tmp_path / "nuclei.parquet")
    with serve([tmp_path]) as viewer:
        path = "/api/slides/0/squares/0/1/1?detail=none&columns=score&columns=a%2C%20b"
        _, content, _ = Client(viewer).ask(path)
    _, arrays = unpack(content)
    rows = arrays["id"].astype(int) - 1
    np.testing.assert_array_equal(arrays["a, b"], nuclei.features["trust"][rows])
    assert len(arrays["score"]) == len(rows)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("squares/0/3/0", 404),
        ("squares/0/0/2", 404),
        ("squares/4/0/0", 404),
        ("squares/0/0/-1", 404),
        ("squares/0/0/0?detail=all", 400),
        ("squares/2/0/0?detail=full", 400),
        ("squares/0/0/0?columns=slide", 400),
        ("squares/0/0/0?columns=" + ",".join(9 * ["score"]), 400),
    ],
)
def test_what_is_not_there_is_said(path, status, client) -> None:
    found, content, _ = client.ask(f"/api/slides/0/{path}")
    assert found == status
    assert json.loads(content)["error"].endswith(".")


def test_several_squares_come_as_one_answer(client) -> None:
    path, query = "/api/slides/0/squares/0", "detail=coarse&columns=trust"
    wanted = [(1, 0), (0, 1), (2, 1)]
    places = ";".join(f"{column},{row}" for column, row in wanted)
    status, content, _ = client.ask(f"{path}?{query}&places={places}")
    assert status == 200
    alone = [client.ask(f"{path}/{column}/{row}?{query}")[1] for column, row in wanted]
    assert content == b"".join(alone)


@pytest.mark.parametrize(
    ("places", "status"),
    [
        *[("", 400), ("1", 400), ("1,2,3", 400), ("a,0", 400), ("3,0", 404), ("0,-1", 404)],
        (";".join(["0,0"] * 65), 400),
    ],
)
def test_places_that_are_none_are_refused(places, status, client) -> None:
    assert client.ask(f"/api/slides/0/squares/0?places={places}")[0] == status
