"""Parts as tasks of a cluster: the same table with any number of workers, also when one dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import pyarrow.parquet as pq
import pytest

from histonuc.inference import cluster as cluster_module
from histonuc.inference import predict as predict_module
from histonuc.inference.cluster import Remote, connect
from histonuc.inference.predict import predict

distributed = pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # sockets of processes that are ending
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
SETTINGS = {"mpp": 0.25, "tile_px": 160}


@pytest.fixture
def image(tmp_path, make_blobs) -> Path:
    path = tmp_path / "in" / "blobs.png"
    path.parent.mkdir()
    cv2.imwrite(str(path), make_blobs((900, 700), 500)[..., ::-1])
    return path


def table(out: Path):
    return pq.read_table(out / "blobs" / "nuclei.parquet")


def test_any_number_of_workers_gives_the_same_table(image, tmp_path):
    predict([image], tmp_path / "here", **SETTINGS)
    for workers in (1, 2, 4):
        out = tmp_path / str(workers)
        (item,) = predict([image], out, cluster=f"local:{workers}", **SETTINGS).items
        assert table(out).equals(table(tmp_path / "here"))
        assert item["num_nuclei"] > 100
        assert item["seconds"]["network"] > 0
        assert "network_idle" not in item["seconds"]  # known of no network but this process's
        assert not (out / "blobs" / "parts").exists()


def test_workers_that_stay_read_a_replaced_slide_anew(image, tmp_path):
    with connect("local:1") as client:
        address = client.scheduler.address
        predict([image], tmp_path / "out", cluster=address, **SETTINGS)
        cv2.imwrite(str(image), cv2.imread(str(image))[::-1])
        predict([image], tmp_path / "out", cluster=address, **SETTINGS)
    predict([image], tmp_path / "here", **SETTINGS)
    assert table(tmp_path / "out").equals(table(tmp_path / "here"))


def test_workers_that_stay_load_a_retrained_model(monkeypatch):
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=1))
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)
    monkeypatch.setattr(cluster_module, "_runtimes", {})
    loaded = []

    def load(*_, **__):
        loaded.append(on_disk)
        return SimpleNamespace(sha256=on_disk, precision="fp32")

    def runtime(sha256):
        asked = {"model": "run", "device": "cpu", "precision": "fp32", "flips": False}
        return cluster_module._runtime(
            SimpleNamespace(**asked, model_sha256=sha256, arithmetic="fp32")
        )

    monkeypatch.setattr(cluster_module, "load_model", load)
    on_disk = "old"
    assert runtime("old").sha256 == "old"
    with pytest.raises(ValueError, match="another model on this worker"):
        runtime("new")
    on_disk = "new"
    assert runtime("new").sha256 == runtime("new").sha256 == "new"
    assert runtime("old").sha256 == "old"  # of a command that goes on
    assert loaded == ["old", "old", "new"]
    for number in range(9):
        on_disk = str(number)
        runtime(on_disk)
    assert len(cluster_module._runtimes) == 4


def test_a_part_that_workers_die_of_is_told(monkeypatch):
    class Deadly:
        def result(self, timeout):
            raise distributed.KilledWorker("_work-1", SimpleNamespace(address="tcp://a:1"), 3)

    with pytest.raises(OSError, match="4 workers in turn died") as caught:
        Remote(client=None, job=None)._result(Deadly())
    assert "tcp://a:1" in str(caught.value)
    assert "finished parts are kept" in str(caught.value)


def test_a_killed_worker_costs_nothing_but_time(image, tmp_path, monkeypatch):
    predict([image], tmp_path / "here", **SETTINGS)
    killed = []

    def kill_one(client) -> None:
        while not list((tmp_path / "out" / "blobs" / "parts").glob("part-*.npz")):
            time.sleep(0.01)
        pid = next(iter(client.run(os.getpid).values()))
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)

    with connect("local:2") as client:
        address = client.scheduler.address
        killer = threading.Thread(target=kill_one, args=(client,))
        killer.start()
        predict([image], tmp_path / "out", cluster=address, **SETTINGS)
        killer.join()
    assert killed
    assert table(tmp_path / "out").equals(table(tmp_path / "here"))


def test_a_slide_outlives_its_only_worker(image, tmp_path):
    """The new worker has to get everything anew, but does no part that the old one kept."""
    predict([image], tmp_path / "here", **SETTINGS)
    loads, kept = tmp_path / "loads", tmp_path / "kept"

    class Dying(distributed.WorkerPlugin):
        def setup(self, worker) -> None:
            from histonuc.inference import cluster

            load_model, keep = cluster.load_model, cluster.keep

            def load(*arguments, **options):
                note(loads, os.getpid())
                return load_model(*arguments, **options)

            def keep_and_die(store, source, part, *result) -> None:
                keep(store, source, part, *result)
                note(kept, part.name)
                is_first = len(loads.read_text().splitlines()) == 1
                if is_first and len(kept.read_text().splitlines()) >= 3:
                    os.kill(os.getpid(), signal.SIGKILL)

            cluster.load_model, cluster.keep = load, keep_and_die

    def note(file: Path, line: object) -> None:
        with file.open("a") as stream:
            stream.write(f"{line}\n")

    with connect("local:1") as client:
        client.register_plugin(Dying())
        address = client.scheduler.address
        summary = predict([image], tmp_path / "out", cluster=address, **SETTINGS)
    assert not summary.failed
    assert table(tmp_path / "out").equals(table(tmp_path / "here"))
    processes, parts = loads.read_text().split(), kept.read_text().split()
    assert len(processes) == len(set(processes)) == 2  # each loaded the model once
    assert len(parts) == len(set(parts)) > 3


DYING_CLIENT = """
import os, signal, sys
from pathlib import Path
from histonuc.inference import predict
from histonuc.inference import results as parts
load, loaded = parts.PartStore.load, []
def load_and_die(store, part):
    loaded.append(part)
    if len(loaded) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return load(store, part)
parts.PartStore.load = load_and_die
predict.predict([Path(sys.argv[1])], Path(sys.argv[2]), cluster=sys.argv[3], mpp=0.25, tile_px=160)
"""


def test_a_killed_command_is_gone_on_with_on_the_same_cluster(image, tmp_path):
    """Its workers stay, and what they have kept is not done again."""
    predict([image], tmp_path / "here", **SETTINGS)
    out = tmp_path / "out"
    with connect("local:2") as client:
        address = client.scheduler.address
        arguments = [DYING_CLIENT, str(image), str(out), address]
        done = subprocess.run([sys.executable, "-c", *arguments], check=False)
        assert done.returncode == -signal.SIGKILL
        kept = len(list((out / "blobs" / "parts").glob("part-*.npz")))
        assert kept >= 3
        (item,) = predict([image], out, cluster=address, **SETTINGS).items
    assert item["tiles_resumed"] >= kept
    assert table(out).equals(table(tmp_path / "here"))
    assert not (out / "blobs" / "parts").exists()


def test_a_cluster_without_workers_is_not_waited_for_for_ever(image, tmp_path, monkeypatch):
    from distributed import LocalCluster

    monkeypatch.setattr(cluster_module, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(cluster_module, "_PATIENCE_SECONDS", 0.3)
    with LocalCluster(n_workers=0, dashboard_address="localhost:0") as cluster:
        address = cluster.scheduler_address
        (failure,) = predict([image], tmp_path / "out", mpp=0.25, cluster=address).failed
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
        (failure,) = predict([image], tmp_path / "out", cluster=address, **SETTINGS).failed
    assert "begun anew by another command" in failure["error"]
    assert not list(parts.glob("part-*.npz"))


def test_what_fails_on_a_worker_fails_that_input_alone(image, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_module, "Job", lambda **facts: REAL_JOB(**facts | wrong))
    wrong = {"source": tmp_path / "gone.png"}
    summary = predict([image], tmp_path / "out", cluster="local:1", **SETTINGS)
    (failure,) = summary.failed
    assert "gone.png" in failure["error"]
    wrong = {"model_sha256": "0" * 64}
    (failure,) = predict([image], tmp_path / "out", cluster="local:1", **SETTINGS).failed
    assert "another model on this worker" in failure["error"]
    wrong = {"arithmetic": "fp64"}
    (failure,) = predict([image], tmp_path / "out", cluster="local:1", **SETTINGS).failed
    assert "the client in fp64: ask for what all of them have" in failure["error"]


REAL_JOB = predict_module.Job


@pytest.mark.parametrize("address", ["local:", "local:0", "local:two", "nobody:1", "carrier://x"])
def test_wrong_addresses_are_refused(image, tmp_path, monkeypatch, address):
    monkeypatch.setattr("histonuc.inference.cluster._CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match=f"--cluster {address}"):
        predict([image], tmp_path / "out", cluster=address, **SETTINGS)
