"""The parts of a slide as tasks on a Dask cluster: one machine's processes, or many machines.

A task analyses one part and writes its file to the result's folder, which all workers share; the
client reads the files in order and joins them as ever. Dask runs the tasks of a dead worker again,
and waits for new workers when all have died.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
import zlib
from collections import deque
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histonuc.extras import require
from histonuc.inference.clock import Clock
from histonuc.inference.memory import share_arenas
from histonuc.inference.pipeline import analyse, keep
from histonuc.inference.plan import Plan
from histonuc.inference.results import PARTS_FOLDER, RUN_FILE, Part, PartResult, PartStore
from histonuc.models.engines import Precision, num_cores
from histonuc.models.loading import load_model
from histonuc.models.model import Model
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


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to know of one slide, but the plan; small and hashable.

    Attributes:
        source: file or folder that every worker can read.
        fingerprint: items of the source's, so that a later version of it is another job.
        folder: of the result, where every worker can write.
        scene, icc: see `open_slide`.
        model, device, precision, flips: see `load_model`.
        model_sha256, arithmetic: of the client's model (`Model.precision`), which the worker's
            must be.
        batch_size: tiles a forward pass.
    """

    source: Path
    fingerprint: tuple[tuple[str, str | int], ...]
    folder: Path
    scene: int | None
    icc: bool
    model: str
    device: str
    precision: Precision
    flips: bool
    model_sha256: str
    arithmetic: str
    batch_size: int


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


@dataclass(frozen=True, kw_only=True)
class Remote:
    """One slide on a cluster.

    Attributes:
        client: of the cluster.
        job: the slide.
    """

    client: Client
    job: Job

    def analyse(
        self, plan: Plan, parts: Sequence[Part], store: PartStore, clock: Clock
    ) -> Generator[tuple[Part, PartResult], None, None]:
        """As `pipeline.analyse`; each part has been kept when it comes.

        It goes on when all workers die and others come.

        Raises:
            OSError, ValueError: what went wrong on a worker, or there was none for too long, or
                several in turn died of the same part.
        """
        run = _run_of(self.job)
        # A task, for what is scattered is lost with the workers that hold it.
        shared = self.client.submit(_unpack, _pack(plan), pure=False, retries=RETRIES)
        waiting = deque(parts)
        running: deque[tuple[Part, Any]] = deque()
        try:
            while waiting or running:
                threads = max(sum(self.client.nthreads().values()), 1)
                while waiting and len(running) < _AHEAD * threads:
                    part = waiting.popleft()
                    task = self.client.submit(
                        _work, self.job, run, shared, part, pure=False, retries=RETRIES
                    )
                    running.append((part, task))
                part, task = running.popleft()
                seconds = self._result(task)
                # One thread's pauses between its tiles, which say nothing of the cluster.
                clock.add({k: v for k, v in seconds.items() if k != "network_idle"})
                yield part, store.load(part)
        finally:
            self.client.cancel([task for _, task in running])

    def _result(self, task: Any) -> Mapping[str, float]:
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
            if self.client.nthreads():
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


_lock = threading.Lock()
_runtimes: dict[tuple[str, str, str, bool, str], Model] = {}
_slides: dict[Job, Slide] = {}
_KEPT = 4
"""Models and open slides that a worker, which may stay for weeks, holds of each."""


def _work(job: Job, run: str, plan: Plan, part: Part) -> Mapping[str, float]:
    """Analyse and keep one part, in a worker: seconds by what they were spent on.

    Raises:
        OSError, ValueError: what went wrong; or this worker goes on for a command that is gone,
            and another one has begun the slide anew.
    """
    with _lock:
        runtime, slide = _runtime(job), _slide(job)
    clock = Clock()
    store = PartStore(job.folder, runtime.spec.label_space, plan.mpp)
    if store.has(part):  # of a worker that died before Dask had heard of it
        return clock.seconds
    done = analyse(slide, runtime, plan, [part], batch_size=job.batch_size, threads=1, clock=clock)
    try:
        for _, result in done:
            if _run_of(job) != run:
                raise ValueError(f"{job.folder} was begun anew by another command")
            keep(store, job.source, part, result, clock)
    except OSError:  # a share that comes back has other handles
        with _lock:
            _slides.pop(job, None)
        raise
    return clock.seconds


def _run_of(job: Job) -> str:
    """What the parts in the slide's folder are parts of, as `PartStore.open` wrote it."""
    return (job.folder / PARTS_FOLDER / RUN_FILE).read_text(encoding="utf-8")


def _runtime(job: Job) -> Model:
    """This process's model, loaded once; each of its threads is a stream."""
    from distributed import get_worker

    key = job.model, job.device, job.precision, job.flips, job.model_sha256
    if key not in _runtimes:
        share_arenas()
        threads = get_worker().state.nthreads
        runtime = load_model(
            job.model, job.device, job.precision, threads, threads, flips=job.flips
        )
        if runtime.sha256 != job.model_sha256:  # not kept: the right one may come
            raise ValueError(
                f"--model {job.model} is another model on this worker than on the client: "
                "expected the same histonuc, or a file all workers share"
            )
        _make_room(_runtimes)
        _runtimes[key] = runtime
    if _runtimes[key].precision != job.arithmetic:  # results would be of two kinds
        raise ValueError(
            f"this worker computes in {_runtimes[key].precision}, the client in {job.arithmetic}: "
            "ask for what all of them have, as with --precision fp32 --device cpu"
        )
    return _runtimes[key]


def _slide(job: Job) -> Slide:
    """The open slide, which tasks of the same slide share; the oldest ones are let go."""
    if job not in _slides:
        _make_room(_slides)
        _slides[job] = open_slide(job.source, scene=job.scene, icc=job.icc)
    return _slides[job]


def _make_room(kept: dict[Any, Any]) -> None:
    """Let the oldest go until there is room for one more."""
    while len(kept) >= _KEPT:
        kept.pop(next(iter(kept)))
