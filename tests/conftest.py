"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Two cores run several test processes: more threads each would only fight.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The shapes that annotations promise are checked in the tests; production pays nothing.
if find_spec("torch") is not None:
    from jaxtyping import install_import_hook

    install_import_hook(["histonuc.losses"], "beartype.beartype")

settings.register_profile(
    "histonuc",
    derandomize=True,
    deadline=None,
    max_examples=30,
    suppress_health_check=[HealthCheck.too_slow],  # the machine may be busy
)
settings.load_profile("histonuc")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real labelled tiles, in ../shared/data beside the checkout."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not (folder / "index.csv").is_file():
        pytest.skip(f"no real tiles at {folder}: place the shared data set there to run this test")
    return folder


@pytest.fixture(scope="session")
def shared_slides() -> Path:
    """Real slides and awkward files, in ../shared/slides beside the checkout."""
    folder = Path(__file__).parents[1].parent / "shared" / "slides"
    if not (folder / "cmu-1-small-region.svs").is_file():
        pytest.skip(f"no real slides at {folder}: place the shared slides there to run this test")
    return folder
