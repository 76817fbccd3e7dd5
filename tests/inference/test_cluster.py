"""Parts as tasks of a cluster: the same table with any number of workers, also when one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import pyarrow.parquet as pq
import pytest

from histonuc.inference import cluster as cluster_module
from histonuc.inference import slide as slide_module
from histonuc.inference.cluster import connect
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.models.loading import load_model

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of processes that are ending
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
OPTIONS = PredictOptions(mpp=0.25, tile_px=160)


@pytest.fixture
def image(tmp_path, make_blobs) -> Path:
    path = tmp_path / "in" / "blobs.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), make_blobs((900, 700), 500)[..., ::-1])
    return path


def table(out: Path):
    return pq.read_table(out / "blobs" / "nuclei.parquet")


def test_any_number_of_workers_gives_the_same_table(image, tmp_path):
    predict([image], tmp_path / "here", OPTIONS)
    for workers in (1, 3):
        out = tmp_path / str(workers)
        (item,) = predict([image], out, replace(OPTIONS, cluster=f"local:{workers}")).items
        assert table(out).equals(table(tmp_path / "here"))
        assert item.num_nuclei > 100
        assert item.seconds["network"] > 0
        assert "network_idle" not in item.seconds  # known of no network but this process's
        assert not (out / "blobs" / "parts").exists()


def test_workers_that_stay_read_a_replaced_slide_anew(image, tmp_path):
    with connect("local:1") as client:
        address = client.scheduler.address
        predict([image], tmp_path / "out", replace(OPTIONS, cluster=address))
        cv2.imwrite(str(image), cv2.imread(str(image))[::-1])
        predict([image], tmp_path / "out", replace(OPTIONS, cluster=address))
    predict([image], tmp_path / "here", OPTIONS)
    assert table(tmp_path / "out").equals(table(tmp_path / "here"))


def test_workers_that_stay_load_a_retrained_model(monkeypatch):
    loaded, held = [], cluster_module._Loaded()

    def load(*_, **__):
        loaded.append(on_disk)
        return SimpleNamespace(sha256=on_disk, precision="fp32")

    def model(sha256):
        run = {"model_sha256": sha256, "precision": "fp32"}
        return held.model(PredictOptions(model="run"), run, threads=1)

    monkeypatch.setattr(cluster_module, "load_model", load)
    on_disk = "old"
    assert model("old").sha256 == "old"
    with pytest.raises(ValueError, match="another model on this worker"):
        model("new")
    on_disk = "new"
    assert model("new").sha256 == model("new").sha256 == "new"
    assert model("old").sha256 == "old"  # of a command that goes on
    assert loaded == ["old", "old", "new"]
    for number in range(9):
        on_disk = str(number)
        model(on_disk)
    assert len(held._models) == 4


def test_a_part_that_workers_die_of_is_told(monkeypatch):
    class Deadly:
        def result(self, timeout):
            raise distributed.KilledWorker("_work-1", SimpleNamespace(address="tcp://a:1"), 3)

    with pytest.raises(OSError, match="4 workers in turn died") as caught:
        cluster_module._wait_for(Deadly(), client=None)
    assert "tcp://a:1" in str(caught.value)
    assert "finished parts are kept" in str(caught.value)


def test_a_killed_worker_costs_nothing_but_time(image, tmp_path):
    predict([image], tmp_path / "here", OPTIONS)
    stored, killed = tmp_path / "stored", tmp_path / "killed"

    class OneDies(distributed.WorkerPlugin):
        def setup(self, worker) -> None:
            from contextlib import suppress

            from histonuc.inference import cluster

            store_part = cluster.store_part

            def die_or_store(*arguments) -> None:
                if stored.exists():
                    with suppress(FileExistsError):
                        killed.touch(exist_ok=False)  # by one worker, which loses this part
                        os.kill(os.getpid(), signal.SIGKILL)
                store_part(*arguments)
                stored.touch()

            cluster.store_part = die_or_store

    with connect("local:2") as client:
        client.register_plugin(OneDies())
        address = client.scheduler.address
        predict([image], tmp_path / "out", replace(OPTIONS, cluster=address))
    assert killed.exists()
    assert table(tmp_path / "out").equals(table(tmp_path / "here"))


def test_a_slide_outlives_its_only_worker(image, tmp_path):
    """The new worker has to get everything anew, but does no part that the old one kept."""
    predict([image], tmp_path / "here", OPTIONS)
    loads, kept = tmp_path / "loads", tmp_path / "kept"

    class Dying(distributed.WorkerPlugin):
        def setup(self, worker) -> None:
            from histonuc.inference import cluster

            load_model, store_part = cluster.load_model, cluster.store_part

            def load(*arguments, **options):
                note(loads, os.getpid())
                return load_model(*arguments, **options)

            def store_and_die(folder, source, part, *result) -> None:
                store_part(folder, source, part, *result)
                note(kept, part.name)
                is_first = len(loads.read_text().splitlines()) == 1
                if is_first and len(kept.read_text().splitlines()) >= 3:
                    os.kill(os.getpid(), signal.SIGKILL)

            cluster.load_model, cluster.store_part = load, store_and_die

    def note(file: Path, line: object) -> None:
        with file.open("a") as stream:
            stream.write(f"{line}\n")

    with connect("local:1") as client:
        client.register_plugin(Dying())
        address = client.scheduler.address
        summary = predict([image], tmp_path / "out", replace(OPTIONS, cluster=address))
    assert not summary.failed
    assert table(tmp_path / "out").equals(table(tmp_path / "here"))
    processes, parts = loads.read_text().split(), kept.read_text().split()
    assert len(processes) == len(set(processes)) == 2  # each loaded the model once
    assert len(parts) == len(set(parts)) > 3


DYING_CLIENT = """
import os, signal, sys
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.inference.results import ResultFolder
load, loaded = ResultFolder.load_part, []
def load_and_die(folder, part, empty):
    loaded.append(part)
    if len(loaded) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return load(folder, part, empty)
ResultFolder.load_part = load_and_die
predict(sys.argv[1], sys.argv[2], PredictOptions(cluster=sys.argv[3], mpp=0.25, tile_px=160))
"""


def test_a_killed_command_is_gone_on_with_on_the_same_cluster(image, tmp_path):
    """Its workers stay, and what they have kept is not done again."""
    predict([image], tmp_path / "here", OPTIONS)
    out = tmp_path / "out"
    with connect("local:2") as client:
        address = client.scheduler.address
        arguments = [DYING_CLIENT, str(image), str(out), address]
        done = subprocess.run([sys.executable, "-c", *arguments], check=False)
        assert done.returncode == -signal.SIGKILL
        kept = len(list((out / "blobs" / "parts").glob("part-*.npz")))
        assert kept >= 3
        (item,) = predict([image], out, replace(OPTIONS, cluster=address)).items
    assert item.tiles_resumed >= kept
    assert table(out).equals(table(tmp_path / "here"))
    assert not (out / "blobs" / "parts").exists()


def test_a_cluster_without_workers_is_not_waited_for_for_ever(image, tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(cluster_module, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(cluster_module, "_PATIENCE_SECONDS", 0.3)
    with LocalCluster(n_workers=0, dashboard_address="localhost:0") as cluster:
        address = cluster.scheduler_address
        (failure,) = predict(
            [image], tmp_path / "out", PredictOptions(mpp=0.25, cluster=address)
        ).failed
    assert "no workers for" in failure["error"]


def test_a_worker_of_a_command_that_is_gone_keeps_nothing(image, tmp_path):
    parts = tmp_path / "out" / "blobs" / "parts"

    class BegunAnew(distributed.WorkerPlugin):
        def setup(self, worker) -> None:
            from histonuc.inference import cluster

            analyse = cluster.analyse

            def interrupted(*arguments, **options):
                (parts / "run.json").write_text("of another command")
                return analyse(*arguments, **options)

            cluster.analyse = interrupted

    with connect("local:1") as client:
        client.register_plugin(BegunAnew())
        address = client.scheduler.address
        (failure,) = predict([image], tmp_path / "out", replace(OPTIONS, cluster=address)).failed
    assert "begun anew by another command" in failure["error"]
    assert not list(parts.glob("part-*.npz"))


def test_what_fails_on_a_worker_fails_that_input_alone(image, tmp_path, monkeypatch):
    on_cluster = slide_module.analyse_on_cluster
    gone = tmp_path / "gone.png"
    with connect("local:1") as client:
        options = replace(OPTIONS, cluster=client.scheduler.address)
        with monkeypatch.context() as patch:
            patch.setattr(
                slide_module,
                "analyse_on_cluster",
                lambda client, source, *rest: on_cluster(client, gone, *rest),
            )
            (failure,) = predict(image, tmp_path / "out", options).failed
        assert "gone.png" in failure["error"]
        model = load_model()
        model.precision = "fp64"
        (failure,) = predict(image, tmp_path / "out", options, model=model).failed
        assert "the client in fp64: ask for what all of them have" in failure["error"]
        model.sha256 = "0" * 64
        (failure,) = predict(image, tmp_path / "out", options, model=model).failed
        assert "another model on this worker" in failure["error"]


@pytest.mark.parametrize("address", ["local:", "local:0", "local:two", "nobody:1", "carrier://x"])
def test_wrong_addresses_are_refused(image, tmp_path, monkeypatch, address):
    monkeypatch.setattr("histonuc.inference.cluster._CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match=f"--cluster {address}"):
        predict([image], tmp_path / "out", replace(OPTIONS, cluster=address))
