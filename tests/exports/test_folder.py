from typing import get_args, get_type_hints

import pytest

from histonuc import cli, commands, extras
from histonuc.exports import FORMATS, FormatName, export_folder, write_table
from histonuc.exports.geojson_reader import read_geojson

PLAIN = ("geojson", "geojson.gz", "geoparquet", "csv", "coco", "ome-tiff")


def test_export_one_prediction_or_a_folder_of_them(nuclei_of, assert_equal, tmp_path):
    for name in ("a", "b"):
        write_table(nuclei_of(), tmp_path / "out" / name / "nuclei.parquet")
    summary = export_folder(tmp_path / "out", "csv")
    assert not summary.failed
    assert summary.written == [tmp_path / "out" / name / "nuclei.csv" for name in ("a", "b")]
    (one,) = export_folder(tmp_path / "out" / "b", "geojson.gz").written
    assert_equal(read_geojson(one), nuclei_of(), points_px=0.00501, centroid_px=1e-4)


@pytest.mark.parametrize("to", PLAIN)
@pytest.mark.parametrize("num", [7, 0])
def test_every_plain_format_is_written_without_an_extra(nuclei_of, tmp_path, monkeypatch, to, num):
    monkeypatch.setattr(extras, "is_installed", lambda extra: False)
    write_table(nuclei_of(num=num), tmp_path / "nuclei.parquet")
    (written,) = export_folder(tmp_path, to).written
    assert written.stat().st_size > 0
    assert {path.name for path in tmp_path.iterdir()} == {"nuclei.parquet", written.name}


@pytest.mark.parametrize(("to", "extra"), [("ome-zarr", "zarr"), ("anndata", "spatial")])
def test_a_missing_extra_is_named(nuclei_of, tmp_path, monkeypatch, to, extra):
    monkeypatch.setattr(extras, "is_installed", lambda extra: False)
    write_table(nuclei_of(), tmp_path / "nuclei.parquet")
    with pytest.raises(ValueError, match=rf"--to {to} needs .* pip install 'histonuc\[{extra}\]'"):
        export_folder(tmp_path, to)


def test_centroids_have_a_file_of_their_own(nuclei_of, tmp_path):
    write_table(nuclei_of(), tmp_path / "nuclei.parquet")
    (written,) = export_folder(tmp_path, "geojson", centroids=True).written
    assert written == tmp_path / "centroids.geojson"


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="no prediction in"):
        export_folder(tmp_path)
    with pytest.raises(ValueError, match="choose from geojson"):
        export_folder(tmp_path, "xml")  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"--centroids belongs to geojson, geojson\.gz, not to csv"
    ):
        export_folder(tmp_path, "csv", centroids=True)
    with pytest.raises(ValueError, match=r"--frame belongs to geojson, geojson\.gz, not to csv"):
        export_folder(tmp_path, "csv", frame="slide")
    with pytest.raises(ValueError, match="--slide belongs to anndata, dicom, not to csv"):
        export_folder(tmp_path, "csv", slide=tmp_path)


@pytest.mark.parametrize("where", ["one", "many"])
def test_dicom_without_a_slide_is_an_error_not_silence(nuclei_of, tmp_path, capsys, where):
    for name in ("a", "b") if where == "many" else ("a",):
        write_table(nuclei_of(), tmp_path / name / "nuclei.parquet")
    assert cli.run(["export", str(tmp_path), "--to", "dicom"]) == 2
    assert "--to dicom needs --slide: the slide's own file" in capsys.readouterr().err
    assert not list(tmp_path.glob("*/*.dcm"))


def damage(table, at_end):
    """Spoil the facts at a table's end, or the pages before, which only reading on reveals."""
    content = bytearray(table.read_bytes())
    start = len(content) - 8 if at_end else 100
    content[start : start + 8] = b"spoilt!!"
    table.write_bytes(content)


@pytest.mark.parametrize("at_end", [True, False])
def test_one_damaged_result_among_many_does_not_cost_the_others(
    nuclei_of, tmp_path, capsys, at_end
):
    tables = [tmp_path / name / "nuclei.parquet" for name in "abc"]
    for table in tables:
        write_table(nuclei_of(), table)
    damage(tables[1], at_end)
    assert cli.run(["export", str(tmp_path), "--to", "csv"]) == 1
    shown = capsys.readouterr().out.splitlines()
    assert shown[:2] == [f"wrote {tables[i].with_name('nuclei.csv')}" for i in (0, 2)]
    assert shown[2] == "1 failed:"
    assert shown[3].startswith(f"  {tables[1]} is damaged")
    assert "damaged" in shown[3]
    assert [file.name for file in tables[1].parent.iterdir()] == ["nuclei.parquet"]
    summary = export_folder(tmp_path, "csv").to_dict()
    assert [failure["source"] for failure in summary["failed"]] == [str(tables[1])]
    assert len(summary["written"]) == 2


@pytest.mark.parametrize("at_end", [True, False])
def test_a_single_damaged_result_is_an_error(nuclei_of, tmp_path, caplog, at_end):
    table = tmp_path / "a" / "nuclei.parquet"
    write_table(nuclei_of(), table)
    damage(table, at_end)
    for out in (tmp_path, table.parent):
        with pytest.raises(ValueError, match=r"nuclei\.parquet is damaged or no table of nuclei"):
            export_folder(out, "csv")
        assert cli.run(["export", str(out), "--to", "csv"]) == 2


def test_a_fault_of_ours_among_many_leaves_a_traceback(nuclei_of, tmp_path, monkeypatch, caplog):
    from histonuc.exports import csv

    for name in "ab":
        write_table(nuclei_of(), tmp_path / name / "nuclei.parquet")
    monkeypatch.setattr(csv, "write_csv", lambda source, path: 1 / 0)
    summary = export_folder(tmp_path, "csv")
    assert [failure["error"] for failure in summary.failed] == [
        "ZeroDivisionError: division by zero"
    ] * 2
    assert "Traceback" in caplog.text


def test_the_command_offers_every_format():
    assert get_args(get_type_hints(commands.export)["to"]) == tuple(FORMATS) == get_args(FormatName)
    assert len({chosen.file for chosen in FORMATS.values()}) == len(FORMATS)
    for chosen in FORMATS.values():
        assert chosen.needs <= chosen.options <= set(get_type_hints(commands.export))
        assert not chosen.extra or isinstance(extras.is_installed(chosen.extra), bool)
