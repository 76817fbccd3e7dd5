"""Parts as tasks of a cluster: the same table with any number of workers, also when one dies."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest

from histonuc.inference import predict as predict_module
from histonuc.inference.cluster import connect
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
        assert not (out / "blobs" / "parts").exists()


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


def test_what_fails_on_a_worker_fails_that_input_alone(image, tmp_path, monkeypatch):
    monkeypatch.setattr(predict_module, "Job", lambda **facts: REAL_JOB(**facts | wrong))
    wrong = {"source": tmp_path / "gone.png"}
    summary = predict([image], tmp_path / "out", cluster="local:1", **SETTINGS)
    (failure,) = summary.failed
    assert "gone.png" in failure["error"]
    wrong = {"model_sha256": "0" * 64}
    (failure,) = predict([image], tmp_path / "out", cluster="local:1", **SETTINGS).failed
    assert "another model on this worker" in failure["error"]


REAL_JOB = predict_module.Job


@pytest.mark.parametrize("address", ["local:", "local:0", "local:two", "nobody:1", "carrier://x"])
def test_wrong_addresses_are_refused(image, tmp_path, monkeypatch, address):
    monkeypatch.setattr("histonuc.inference.cluster._CONNECT_SECONDS", 1)
    with pytest.raises(ValueError, match=f"--cluster {address}"):
        predict([image], tmp_path / "out", cluster=address, **SETTINGS)
