"""The parts of a slide as tasks on a Dask cluster: one machine's processes, or many machines.

A task analyses one part and writes its file to the result's folder, which all workers share; the
client reads the files in order and joins them as ever. Dask runs the tasks of a dead worker again,
and waits for new workers when all have died.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import pickle
import platform
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histonuc.extras import require
from histonuc.inference.clock import Clock
from histonuc.inference.options import PredictOptions
from histonuc.inference.pipeline import Parts, analyse, store_part
from histonuc.inference.plan import Plan
from histonuc.inference.results import ResultFolder
from histonuc.inference.tiles import Part
from histonuc.models.engines import num_cores
from histonuc.models.loading import load_model
from histonuc.models.model import Model
from histonuc.nuclei import Nuclei
from histonuc.slides import Slide, open_slide

if TYPE_CHECKING:
    from distributed import Client

LOCAL = "local"
RETRIES = 3
"""Times a task is begun again after an error, as of storage that was away for a moment."""
_AHEAD = 3
"""Tasks for each thread of the cluster that are handed out before the first is done."""
_CONNECT_SECONDS = 10
_LOOK_SECONDS, _PATIENCE_SECONDS = 10.0, 1800.0
"""How often it is looked whether there are workers, and how long a slide waits for any."""
_NUM_LOADED = 4
"""Models and open slides that a worker, which may stay for weeks, holds of each."""
_M_ARENA_MAX = -8
"""Number of the option in glibc's ``malloc.h``."""
_ARENAS = 2


def share_arenas() -> None:
    """Let all threads of this process share two heaps, where the C library is glibc.

    By itself it keeps one for each thread, and in each what the largest tiles left. Call it before
    threads start, and from programs only: it is the whole process's. What the environment says
    about arenas stands.
    """
    told = {"MALLOC_ARENA_MAX", "GLIBC_TUNABLES"} & os.environ.keys()
    if platform.libc_ver()[0] == "glibc" and not told:
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _ARENAS)


@contextmanager
def connect(address: str) -> Iterator[Client]:
    """A client of a running scheduler, or of a cluster of this machine's processes.

    Args:
        address: of a Dask scheduler, as ``tcp://host:8786``; or ``local:N`` for N processes that
            share this machine's cores and end with the block.

    Raises:
        ValueError: no such address, nobody there, or the extra ``cluster`` is not installed.
    """
    require("cluster", "histonuc predict --cluster")
    from distributed import Client, LocalCluster

    kind, _, count = address.partition(":")
    if kind != LOCAL:
        try:
            client = Client(address, timeout=_CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"--cluster {address}: no Dask scheduler answers there ({error}): expected an "
                "address as tcp://host:8786, or local:4"
            ) from None
        with client:
            yield client
        return
    if not count.isdigit() or int(count) < 1:
        raise ValueError(f"--cluster {address}: expected a number of processes, as in local:4")
    workers = int(count)
    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=max(1, num_cores() // workers),
            processes=True,
            dashboard_address="localhost:0",  # any free port: the usual one may be taken
            memory_limit=0,
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client


def analyse_on_cluster(
    client: Client,
    source: Path,
    folder: ResultFolder,
    options: PredictOptions,
    plan: Plan,
    empty: Nuclei,
    clock: Clock,
    parts: Sequence[Part],
) -> Parts:
    """Parts of a slide that the workers of a cluster analyse and store.

    It goes on when all workers die and others come.

    Args:
        client: of the cluster.
        source: file or folder of the slide, which every worker can read.
        folder: of the result, where every worker can write; begun.
        options: of the run.
        plan: of the slide.
        empty: no nuclei, with the label space and mpp of those to come.
        clock: where the time goes.
        parts: what to analyse.

    Raises:
        OSError, ValueError: what went wrong on a worker, or there was none for too long, or
            several in turn died of the same part.
    """
    # A task, for what is scattered is lost with the workers that hold it.
    shared = client.submit(_unpack, _pack(plan), pure=False, retries=RETRIES)
    shared_folder = ResultFolder(folder.path.absolute())
    facts = source.absolute(), shared_folder, options, folder.read_run()
    waiting = deque(parts)
    running: deque[tuple[Part, Any]] = deque()
    try:
        while waiting or running:
            threads = max(sum(client.nthreads().values()), 1)
            while waiting and len(running) < _AHEAD * threads:
                part = waiting.popleft()
                task = client.submit(
                    _analyse_part, *facts, shared, part, pure=False, retries=RETRIES
                )
                running.append((part, task))
            part, task = running.popleft()
            seconds = _wait_for(task, client)
            # One thread's pauses between its tiles, which say nothing of the cluster.
            clock.add({k: v for k, v in seconds.items() if k != "network_idle"})
            yield part, folder.load_part(part, empty)
    finally:
        client.cancel([task for _, task in running])


def _wait_for(task: Any, client: Client) -> Mapping[str, float]:
    """What a task gave; waits for new workers where there are none, but not for ever."""
    from distributed import KilledWorker

    seen = time.monotonic()
    while True:
        try:
            result: Mapping[str, float] = task.result(timeout=_LOOK_SECONDS)
            return result
        except TimeoutError:
            if task.done():  # it is the task's own
                raise
        except KilledWorker as error:
            raise OSError(
                f"{error.allowed_failures + 1} workers in turn died of the same part, the last "
                f"one {error.last_worker.address}: its log may say why; "
                "finished parts are kept: run the same command again, with more memory for "
                "each worker if it ran out"
            ) from None
        if client.nthreads():
            seen = time.monotonic()
        elif time.monotonic() - seen > _PATIENCE_SECONDS:
            raise OSError(
                f"the cluster has had no workers for {_PATIENCE_SECONDS / 60:.0f} minutes: "
                "finished parts are kept; run the same command when there are some again"
            )


def _pack(plan: Plan) -> bytes:
    """What workers need of a plan, for the scheduler to keep: mostly a mask, which packs well."""
    return zlib.compress(pickle.dumps(replace(plan, tiles=())), 1)


def _unpack(packed: bytes) -> Plan:
    """The plan, in a worker; without its tiles, which come with each part."""
    plan: Plan = pickle.loads(zlib.decompress(packed))
    return plan


def _analyse_part(
    source: Path,
    folder: ResultFolder,
    options: PredictOptions,
    run: dict[str, Any],
    plan: Plan,
    part: Part,
) -> Mapping[str, float]:
    """Analyse and store one part, in a worker: seconds by what they were spent on.

    Args:
        source: file or folder of the slide.
        folder: of the result.
        options: of the run.
        run: what the parts in the folder depend on: see `ResultFolder.begin`.
        plan: of the slide.
        part: what to analyse.

    Raises:
        OSError, ValueError: what went wrong; or this worker goes on for a command that is gone,
            and another one has begun the slide anew.
    """
    from distributed import get_worker

    clock, worker = Clock(), get_worker()
    # The worker holds what it has loaded: several may share a process, and each ends in its time.
    loaded: _Loaded = worker.extensions.setdefault("histonuc", _Loaded())
    model = loaded.model(options, run, worker.state.nthreads)
    if folder.has_part(part):  # of a worker that died before Dask had heard of it
        return clock.seconds
    try:
        slide = loaded.slide(source, options, run)
        done = analyse(
            slide, model, plan, [part], batch_size=options.batch_size, threads=1, clock=clock
        )
        for _, results in done:
            if folder.read_run() != run:
                raise ValueError(f"{folder.path} was begun anew by another command")
            store_part(folder, source, part, results, clock)
    except OSError:  # a share that comes back has other handles
        loaded.forget_slides()
        raise
    return clock.seconds


class _Loaded:
    """The models and the open slides of a worker, which all its threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: dict[tuple[Any, ...], Model] = {}
        self._slides: dict[tuple[Any, ...], Slide] = {}

    def model(self, options: PredictOptions, run: Mapping[str, Any], threads: int) -> Model:
        """The model, loaded once; each thread of the worker is a stream.

        Raises:
            ValueError: it is not the client's, or computes otherwise.
        """
        wanted = options.model, options.device, options.precision, options.flips
        key = *wanted, run["model_sha256"]
        with self._lock:
            if key not in self._models:
                share_arenas()
                model = load_model(*wanted[:3], threads, threads, flips=options.flips)
                if model.sha256 != run["model_sha256"]:  # not kept: the right one may come
                    raise ValueError(
                        f"--model {options.model} is another model on this worker than on the "
                        "client: expected the same histonuc, or a file all workers share"
                    )
                _add(self._models, key, model)
            model = self._models[key]
        if model.precision != run["precision"]:  # results would be of two kinds
            raise ValueError(
                f"this worker computes in {model.precision}, the client in {run['precision']}: "
                "ask for what all of them have, as with --precision fp32 --device cpu"
            )
        return model

    def slide(self, source: Path, options: PredictOptions, run: Mapping[str, Any]) -> Slide:
        """The open slide; a later version of its file is another one."""
        key = source, json.dumps(run, sort_keys=True)
        with self._lock:
            if key not in self._slides:
                _add(self._slides, key, open_slide(source, scene=options.scene, icc=options.icc))
            return self._slides[key]

    def forget_slides(self) -> None:
        """Open slides anew from now on; those that others read stay open until they are done."""
        with self._lock:
            self._slides.clear()


def _add(loaded: dict[tuple[Any, ...], Any], key: tuple[Any, ...], item: Any) -> None:
    """Add an item; the oldest ones go until there is room."""
    while len(loaded) >= _NUM_LOADED:
        loaded.pop(next(iter(loaded)))
    loaded[key] = item
