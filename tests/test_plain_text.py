"""No output fails for its encoding, and no file name breaks a line, a record or a terminal."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from histonuc import cli
from histonuc.plain_text import readable

ODD = {
    b"coupe_n\xb0_3.png": "coupe_n%B0_3.png",
    b"new\nline.png": "new%0Aline.png",
    b"esc\x1b[31m.png": "esc%1B[31m.png",
    b"-dash.png": "-dash.png",
    "µm².png".encode(): "µm².png",
}
"""File names as bytes, and how they are told."""


def said(monkeypatch: pytest.MonkeyPatch, encoding: str, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of the program in a terminal of an encoding."""
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", streams[0])
        patch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as stop:
            cli.main(words)
        for stream in streams:
            stream.flush()
    texts = [stream.buffer.getvalue().decode(encoding) for stream in streams]  # type: ignore[attr-defined]
    return stop.value.code, *texts  # type: ignore[return-value]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of inputs with odd names, where the file system takes them."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "in").mkdir()
    Image.new("RGB", (64, 64), (200, 150, 200)).save(folder / "plain.png")
    for name in ODD:
        try:
            (folder / "in" / os.fsdecode(name)).write_bytes((folder / "plain.png").read_bytes())
        except OSError:
            pytest.skip("this file system takes UTF-8 names only")
    words = ["predict", str(folder / "in"), "--out", str(folder / "out"), "--mpp", "0.25"]
    assert cli.run(words) == 0
    return folder


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "cp932", "cp1251", "latin-1", "utf-8"])
@pytest.mark.parametrize("what", ["predict", "info", "help", "json", "error"])
def test_no_output_fails_for_its_encoding(results, monkeypatch, encoding, what) -> None:
    out = str(results / "out")
    words = {
        "predict": ["predict", str(results / "in"), "--out", out, "--mpp", "0.25"],
        "info": ["info", out],
        "help": ["predict", "--help"],
        "json": ["info", out, "--json"],
        "error": ["info", str(results / "n\udcb0ne²")],
    }[what]
    code, output, errors = said(monkeypatch, encoding, *words)
    assert code == (2 if what == "error" else 0)
    assert "Traceback" not in errors
    if what in ("predict", "info"):
        unit = "mm2" if encoding in ("ascii", "gbk", "cp932", "cp1251") else "mm²"
        assert unit in output
    if what == "json":
        json.loads(output)
    if what == "error":
        assert "n%B0ne" in errors


def test_every_name_is_one_line_of_text_in_output_and_records(results, monkeypatch) -> None:
    code, output, _ = said(monkeypatch, "utf-8", "info", str(results / "out"))
    assert code == 0
    for told in ODD.values():
        assert f"{told}: 0 nuclei" in output
    record = json.loads((results / "out" / "summary.json").read_text(encoding="utf-8"))
    json.dumps(record, ensure_ascii=False).encode()
    assert {Path(item["source"]).name for item in record["items"]} == set(ODD.values())
    folders = {path.name for path in (results / "out").iterdir() if path.is_dir()}
    assert folders == {Path(told).stem for told in ODD.values()}
    again = ["predict", str(results / "in"), "--out", str(results / "out"), "--mpp", "0.25"]
    code, output, _ = said(monkeypatch, "utf-8", *again, "--json")
    assert sorted(Path(name).name for name in json.loads(output)["skipped"]) == sorted(ODD.values())
    code, output, _ = said(monkeypatch, "utf-8", "export", str(results / "out"), "--to", "csv")
    assert (code, len(output.splitlines())) == (0, len(ODD))


def test_results_are_not_written_where_most_formats_cannot(results, monkeypatch) -> None:
    image = str(results / "plain.png")
    for words in (["--out", "n\udcb0"], ["--out=n\udcb0"]):
        code, _, errors = said(monkeypatch, "utf-8", "predict", image, *words)
        assert (code, errors) == (2, "error: --out n%B0: expected a name in UTF-8\n")


def test_a_leading_dash_is_a_file_behind_two_dashes(results, monkeypatch) -> None:
    monkeypatch.chdir(results / "in")
    code, output, _ = said(monkeypatch, "utf-8", "info", "--", "-dash.png")
    assert code == 0
    assert "-dash.png" in output


def test_log_lines_cannot_command_the_terminal(results, monkeypatch) -> None:
    code, _, errors = said(monkeypatch, "utf-8", "info", "no\x1b[2Jthing")
    assert code == 2
    assert "\x1b" not in errors
    assert "no%1B[2Jthing" in errors


def test_text_that_is_fine_stays_as_it_is() -> None:
    assert readable("Größe µm² 50%.svs") == "Größe µm² 50%.svs"
