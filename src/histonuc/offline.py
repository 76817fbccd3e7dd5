"""Libraries that would phone home or write into the home folder, imported so that they do not.

Nothing else imports them for itself: nuclei of patients stay on the machine that they are on.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any


def cache_folder() -> Path:
    """Where files may be kept between runs: ``$XDG_CACHE_HOME/histonuc``, or in ``~/.cache``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "histonuc"


@cache
def load_openvino() -> Any:
    """The package `openvino`.

    Its import posts an event to an analytics host, writes a client id into the home folder and
    forks a process for it, unless its package `openvino_telemetry` cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return import_module("openvino")


@cache
def load_matplotlib() -> Any:
    """The package `matplotlib`, which would keep its list of fonts in two folders of its own."""
    os.environ.setdefault("MPLCONFIGDIR", str(cache_folder() / "matplotlib"))
    return import_module("matplotlib")


@cache
def load_mlflow() -> Any:
    """The package `mlflow`, which would post what is called how often to its makers."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    return import_module("mlflow")


@cache
def load_wandb(folder: Path) -> Any:
    """The package `wandb`, which would report its errors to its makers and write into the home.

    Args:
        folder: where it may keep its caches instead.
    """
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    for place in ("CACHE", "CONFIG", "DATA"):
        os.environ.setdefault(f"WANDB_{place}_DIR", str(folder))
    return import_module("wandb")
