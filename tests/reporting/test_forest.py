"""The forest plot draws what the comparison holds."""

from __future__ import annotations

import re
from typing import Any

import cv2

from histonuc.reporting.forest import write_forest_plot


def row(difference: float | None, p: float = 0.01, **more: float) -> dict[str, Any]:
    if difference is None:
        return {"difference": None, "low": None, "high": None, "p": None, **more}
    low, high = difference - 0.01, difference + 0.01
    return {"difference": difference, "low": low, "high": high, "p": p, **more}


def comparison(second: str, **classes: dict[str, Any]) -> dict[str, Any]:
    return {
        "first": "runs/base",
        "second": second,
        "overall": {"bpq": row(0.02), "mpq": row(-0.01)},
        "class_score": "pq",
        "per_class": classes,
        "per_tissue": {
            "Colon": {"bpq": row(0.03) | {"low": None, "high": None}, "mpq": row(None)},
            "": {"bpq": row(0.01), "mpq": row(0.02)},
        },
    }


def test_rows_and_panels_are_those_of_the_tables(tmp_path) -> None:
    result = {
        "comparisons": [
            comparison("runs/one", Dead=row(0.1, p_holm=0.2)),
            comparison("runs/two", Dead=row(0.2), Epithelial=row(0.3)),
        ]
    }
    svg, png = write_forest_plot(result, tmp_path)
    texts = re.findall(r"<!-- (.*?) -->", svg.read_text())  # matplotlib notes each text it draws
    for text in ("bPQ of tissue", "mPQ of tissue", "Colon", "unknown", "Dead", "runs/two"):
        assert text in texts
    assert "95 % intervals; first: runs/base" in texts
    image = cv2.imread(str(png))
    assert image.shape[1] > image.shape[0] > 300
    before = svg.read_bytes()
    write_forest_plot(result, tmp_path)
    assert svg.read_bytes() == before
