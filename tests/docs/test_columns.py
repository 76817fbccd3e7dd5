"""The page about columns names every column that files have, and no other."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from histonuc import cli

from .blocks import ROOT

PAGE = (ROOT / "docs/reference/columns.md").read_text(encoding="utf-8")


def named(section: str, *, column: int = 1) -> set[str]:
    """What one column of the table of a section names in code."""
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[column] for line in text.splitlines() if line.startswith("| `")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


@pytest.fixture(scope="module")
def result(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prediction with regions, exported."""
    out, work = tmp_path_factory.mktemp("columns"), inputs / "work"
    line = ["predict", str(work / "slide.svs"), "--regions", str(work / "regions.geojson")]
    assert cli.run([*line, "--out", str(out)]) == 0
    assert cli.run(["export", str(out), "--to", "csv"]) == 0
    return out


def plain(names: list[str], result: Path) -> set[str]:
    """Names of columns with CLASS in place of the classes."""
    classes = json.loads((result / "slide/summary.json").read_text())["classes"]
    pattern = re.compile("|".join(map(re.escape, classes)))
    return {pattern.sub("CLASS", name) for name in names}


def test_the_tables_of_nuclei(result: Path) -> None:
    table = pq.read_schema(result / "slide/nuclei.parquet").names
    assert plain(table, result) == named("nuclei.parquet and nuclei.csv")
    with (result / "slide/nuclei.csv").open(newline="") as stream:
        header = next(csv.reader(stream))
    assert set(header) == set(table) - {"geometry"}


def test_the_measurements_of_qupath(result: Path) -> None:
    features = json.loads((result / "slide/nuclei.geojson").read_text())["features"]
    names = list(features[0]["properties"]["measurements"])
    assert plain(names, result) == named("nuclei.geojson")
    told = named("nuclei.geojson", column=2)
    assert told <= named("nuclei.parquet and nuclei.csv")


def test_the_tables_of_regions_and_slides(result: Path) -> None:
    with (result / "slide/regions.csv").open(newline="") as stream:
        header = next(csv.reader(stream))
    assert plain(header, result) == named("regions.csv")
    cohort = pq.read_schema(result / "summary.parquet").names
    assert plain(cohort, result) == named("summary.csv and summary.parquet")
