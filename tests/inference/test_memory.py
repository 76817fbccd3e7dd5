"""Memory does not grow with the slide, and threads share two heaps once they are told to."""

import os
import platform
import subprocess
import sys
import tracemalloc

import pytest

from histonuc.inference import pipeline
from histonuc.inference import slide as slide_module
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.slides import tiff_reader, tiff_segments

from ..slides.conftest import write_sparse

# glibc writes one line "<heap nr=...>" for each of its arenas.
COUNT = """
import ctypes, threading
from histonuc.inference.cluster import share_arenas
if {shared}:
    share_arenas()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
together = threading.Barrier(6)
def allocate():
    together.wait()
    libc.malloc(1000)
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(6)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
stream = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, stream)
libc.fclose(stream)
"""


def count_arenas(shared: bool, **environment: str) -> int:
    code = COUNT.format(shared=shared)
    told = ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")
    kept = {name: value for name, value in os.environ.items() if name not in told}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
def test_threads_share_two_arenas_unless_the_environment_says_otherwise() -> None:
    assert count_arenas(False) > 2
    assert count_arenas(True) == 2
    assert count_arenas(True, MALLOC_ARENA_MAX="3") == 3


def test_nine_times_the_tissue_takes_no_more_memory(
    tmp_path, monkeypatch, make_blobs, pixel_model
) -> None:
    peaks_mib = []

    def watched(*arguments, **options):
        tracemalloc.start()
        try:
            join_parts(*arguments, **options)
        finally:
            peaks_mib.append(tracemalloc.get_traced_memory()[1] / 2**20)
            tracemalloc.stop()

    join_parts = slide_module.join_parts
    monkeypatch.setattr(slide_module, "join_parts", watched)
    monkeypatch.setattr(slide_module, "choose_probes", lambda *_: [])
    monkeypatch.setattr(slide_module, "_ROWS_AHEAD", 0)  # more of them the busier the machine is
    monkeypatch.setattr(pipeline, "num_cores", lambda: 2)  # each holds some tiles
    monkeypatch.setattr(tiff_reader, "WHOLE_PIXELS", 0)
    monkeypatch.setattr(tiff_segments, "CACHE_BYTES", 1 << 22)
    paths = [tmp_path / f"{number}-{side}.tif" for number, side in enumerate((8, 8, 24))]
    for path, side in zip(paths, (8, 8, 24), strict=True):  # the first loads and compiles
        write_sparse(path, side, make_blobs((256, 256), 40))
    summary = predict(
        paths, tmp_path / "out", PredictOptions(mpp=0.25, tile_px=368), model=pixel_model
    )
    counts = [item.num_nuclei for item in summary.items]
    assert counts[2] > 8.5 * counts[1] > 20_000
    # The pixels would be 96 MiB more, and outlines with their features 30. Rows of windows, which are
    # joined as a whole, are 512 pixels high.
    assert peaks_mib[2] < peaks_mib[1] + 15, peaks_mib
