"""A run that is killed, or runs out of disk, goes on from its finished parts to the same result."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from histonuc.exports import table as table_module
from histonuc.files import DRAFT_PREFIX
from histonuc.inference import slide as slide_module
from histonuc.inference import tiles as tiles_module
from histonuc.inference import windows as windows_module
from histonuc.inference.options import PredictOptions
from histonuc.inference.plan import make_plan
from histonuc.inference.predict import predict
from histonuc.inference.progress import Tally
from histonuc.inference.results import ResultFolder
from histonuc.inference.tiles import make_parts
from histonuc.slides import open_slide

from ..fuzzing import mutate_bytes, mutate_end, mutate_json, no_hang, outcome

OPTIONS = PredictOptions(tile_px=192, mpp=0.25)
KILLED = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from conftest import PixelModel
from histonuc.inference import pipeline, tiles
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
tiles.PART_TILES = 2
model = PixelModel()
maps, calls = model.maps, []
def some_maps(images):
    calls.append(1)
    if len(calls) > {calls}:
        os.kill(os.getpid(), signal.SIGKILL)
    return maps(images)
model.maps = some_maps
pipeline.num_cores = lambda: 1
predict({image!r}, {out!r}, PredictOptions(tile_px=192, mpp=0.25), model=model)
"""


KILLED_AT = """
import os, signal, sys
sys.path.insert(0, {tests!r})
from conftest import PixelModel
from histonuc import files
from histonuc.inference import tiles
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
tiles.PART_TILES = 2
class Os:
    def __getattr__(self, name):
        return getattr(os, name)
    def replace(self, draft, path):
        if path.name == {name!r}:
            os.kill(os.getpid(), signal.SIGKILL)
        os.replace(draft, path)
files.os = Os()
predict({image!r}, {out!r}, PredictOptions(tile_px=192, mpp=0.25), model=PixelModel())
"""


@pytest.fixture
def model(pixel_model, monkeypatch):
    monkeypatch.setattr(tiles_module, "PART_TILES", 2)
    return pixel_model


@pytest.fixture
def image(tmp_path, blobs) -> Path:
    Image.fromarray(blobs).save(tmp_path / "blobs.png")
    return tmp_path / "blobs.png"


def content(out: Path) -> list[bytes]:
    """Everything of a result that must not depend on how it came about."""
    table = (out / "blobs" / "nuclei.parquet").read_bytes()
    return [table, (out / "blobs" / "nuclei.geojson").read_bytes()]


def run_to_its_death(code: str, image: Path, out: Path, **values: object) -> None:
    tests = str(Path(__file__).parent)
    code = code.format(tests=tests, image=str(image), out=str(out), **values)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr


@pytest.mark.parametrize("calls", [1, 5, 9])
def test_a_killed_run_goes_on_to_the_same_result(model, image, tmp_path, calls) -> None:
    predict([image], tmp_path / "whole", OPTIONS, model=model)
    num_tiles = model.num_images
    run_to_its_death(KILLED, image, tmp_path / "out", calls=calls)
    assert not (tmp_path / "out" / "blobs" / "summary.json").exists()
    kept = len(list((tmp_path / "out" / "blobs" / "parts").glob("part-*.npz")))
    model.num_images = 0
    summary = predict([image], tmp_path / "out", OPTIONS, model=model)
    assert not summary.failed
    assert summary.items[0].tiles_resumed >= kept
    assert model.num_images == num_tiles - summary.items[0].tiles_resumed
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert not (tmp_path / "out" / "blobs" / "parts").exists()
    assert kept > 0 or calls == 1


@pytest.mark.parametrize(
    "name",
    ["part-00001-00000.npz", "nuclei.parquet", "nuclei.geojson", "density.jpg", "summary.json"],
)
def test_a_run_killed_as_it_writes_a_file_leaves_nothing_behind(
    model, image, tmp_path, name
) -> None:
    predict([image], tmp_path / "whole", OPTIONS, model=model)
    run_to_its_death(KILLED_AT, image, tmp_path / "out", name=name)
    assert list((tmp_path / "out" / "blobs").rglob(f".writing-*{name}"))
    summary = predict([image], tmp_path / "out", OPTIONS, model=model)
    assert not summary.failed
    assert summary.items[0].tiles_resumed > 0
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    one, other = ({path.name for path in (tmp_path / run).rglob("*")} for run in ("out", "whole"))
    assert one == other


def test_a_full_disk_costs_no_finished_part(model, image, tmp_path, monkeypatch) -> None:
    predict([image], tmp_path / "whole", OPTIONS, model=model)
    savez, calls = np.savez, []

    def full(stream, **arrays):
        calls.append(1)
        if len(calls) == 4:
            stream.write(b"half a part")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        savez(stream, **arrays)

    monkeypatch.setattr(np, "savez", full)
    summary = predict([image], tmp_path / "out", OPTIONS, model=model)
    assert "No space left" in summary.failed[0]["error"]
    assert "run the same command again" in summary.failed[0]["error"]
    parts = list((tmp_path / "out" / "blobs" / "parts").iterdir())
    assert sorted(path.suffix for path in parts) == [".json", ".npz", ".npz", ".npz"]
    assert not (tmp_path / "out" / "blobs" / "nuclei.parquet").exists()
    again = predict([image], tmp_path / "out", OPTIONS, model=model)
    assert again.items[0].tiles_resumed == 6
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no limit on the size of a file")
@pytest.mark.parametrize(
    "name", ["nuclei.parquet", "nuclei.geojson", "overview.jpg", "density.jpg", "detail.jpg"]
)
def test_no_room_for_any_one_file_costs_nothing_but_a_rerun(
    model, image, tmp_path, name: str
) -> None:
    import resource

    predict([image], tmp_path / "whole", OPTIONS, model=model)
    size = (tmp_path / "whole" / "blobs" / name).stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # larger files fail as on a full disk, whoever writes them
        resource.setrlimit(resource.RLIMIT_FSIZE, (size - 1, hard))
        summary = predict([image], tmp_path / "out", OPTIONS, model=model)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert summary.failed
    assert "\n" not in summary.failed[0]["error"]
    assert not list((tmp_path / "out").rglob(f"{DRAFT_PREFIX}*"))
    assert not predict([image], tmp_path / "out", OPTIONS, model=model).failed
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    one, other = ({path.name for path in (tmp_path / run).rglob("*")} for run in ("out", "whole"))
    assert one == other


def interrupted(image: Path, out: Path, model, monkeypatch) -> Path:
    """A run that failed after some parts: its folder of parts."""
    maps, calls = model.maps, []

    def fail(images):
        calls.append(1)
        if len(calls) > 8:
            raise OSError("the power is gone")
        return maps(images)

    with monkeypatch.context() as patch:
        patch.setattr(model, "maps", fail)
        assert predict([image], out, OPTIONS, model=model).failed
    parts = out / "blobs" / "parts"
    assert len(list(parts.glob("part-*.npz"))) >= 2
    return parts


def test_a_damaged_part_is_done_again(model, image, tmp_path, monkeypatch) -> None:
    predict([image], tmp_path / "whole", OPTIONS, model=model)
    parts = sorted(interrupted(image, tmp_path / "out", model, monkeypatch).glob("*.npz"))
    data = bytearray(parts[0].read_bytes())
    data[len(data) // 2] ^= 0xFF
    parts[0].write_bytes(bytes(data))
    parts[1].write_bytes(parts[1].read_bytes()[:-40])
    sound = sum(len(np.load(path)["column"]) for path in parts[2:])
    summary = predict([image], tmp_path / "out", OPTIONS, model=model)
    assert summary.items[0].tiles_resumed == sound
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@no_hang
def test_mutated_parts_are_done_again_or_read_as_they_were(
    model, image, tmp_path, monkeypatch
) -> None:
    folder = interrupted(image, tmp_path / "out", model, monkeypatch)
    with open_slide(image) as slide:
        plan = make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, tile_px=192, margin_um=12)
    part = make_parts(plan.tiles)[0]
    store = ResultFolder(folder.parent)
    empty = Tally(label_space=model.spec.label_space, mpp=0.25).empty
    file, rng, kept = folder / f"{part.name}.npz", random.Random(0), 0
    content, whole = file.read_bytes(), pickle.dumps(store.load_part(part, empty))
    assert store.has_part(part)
    for number in range(200):
        mutate = mutate_end if number % 2 else mutate_bytes
        file.write_bytes(mutate(content, rng))
        if store.has_part(part):
            kept += 1
            assert pickle.dumps(store.load_part(part, empty)) == whole
    assert 0 < kept < 100


@no_hang
def test_a_mutated_key_of_the_parts_costs_the_parts(model, image, tmp_path, monkeypatch) -> None:
    folder = interrupted(image, tmp_path / "out", model, monkeypatch)
    shutil.copytree(folder, tmp_path / "whole")
    content, rng = (folder / "run.json").read_bytes(), random.Random(0)
    key = json.loads(content)
    for number in range(60):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "whole", folder)
        damaged = (mutate_json if number % 2 else mutate_bytes)(content, rng)
        (folder / "run.json").write_bytes(damaged)
        ResultFolder(folder.parent).begin(key)
        assert any(folder.glob("*.npz")) == (outcome(json.loads, damaged) == key)


@pytest.mark.parametrize("change", ["model", "setting", "file", "tissue"])
def test_other_models_settings_and_files_are_never_mixed(
    model, image, tmp_path, monkeypatch, change
) -> None:
    interrupted(image, tmp_path / "out", model, monkeypatch)
    options = OPTIONS
    if change == "model":
        model.sha256 = "1" * 64
    elif change == "setting":
        options = replace(OPTIONS, tile_px=256)
    elif change == "file":
        os.utime(image, ns=(1, 1))
    else:  # as where the overview could not be read, and can be now
        monkeypatch.setattr(windows_module, "MAX_HEIGHT", 1.0)
    (item,) = predict([image], tmp_path / "out", options, model=model).items
    assert item.tiles_resumed == 0
    named = {
        "model": "another model",
        "setting": "another --tile-px",
        "file": "another file",
        "tissue": "another view of the tissue",
    }[change]
    assert any("begun anew" in note and named in note for note in item.warnings)


def test_overwrite_takes_nothing_over(model, image, tmp_path, monkeypatch) -> None:
    interrupted(image, tmp_path / "out", model, monkeypatch)
    (item,) = predict(
        [image], tmp_path / "out", replace(OPTIONS, overwrite=True), model=model
    ).items
    assert item.tiles_resumed == 0
    assert not any("begun anew" in note for note in item.warnings)


def test_a_file_that_vanishes_fails_instead_of_leaving_holes(
    model, image, tmp_path, monkeypatch
) -> None:
    from histonuc.slides import PlainImage, RegionError

    pixels = np.asarray(Image.open(image))

    class Unmounted(PlainImage):
        def read(self, *window):
            image.unlink(missing_ok=True)
            raise RegionError("no such device", window[:4])

    monkeypatch.setattr(slide_module, "open_slide", lambda *_, **__: Unmounted(pixels))
    summary = predict([image], tmp_path / "out", OPTIONS, model=model)
    assert "No such file" in summary.failed[0]["error"]
    assert not list((tmp_path / "out" / "blobs" / "parts").glob("part-*.npz"))


def test_row_groups_tell_where_their_nuclei_are(model, image, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(table_module, "_LOCAL_ROWS", 16)
    predict([image], tmp_path / "out", OPTIONS, model=model)
    file = pq.ParquetFile(tmp_path / "out" / "blobs" / "nuclei.parquet")
    groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
    for axis, extent in zip("xy", np.asarray(Image.open(image)).shape[1::-1], strict=True):
        column = file.schema_arrow.names.index(axis)
        facts = [group.column(column).statistics for group in groups]
        spans = [fact.max - fact.min for fact in facts]
        assert np.median(spans) < 0.4 * extent
    ids = file.read(["id"])["id"].to_pylist()
    assert ids == list(range(1, len(ids) + 1))
    json.loads((tmp_path / "out" / "blobs" / "nuclei.geojson").read_text())
