"""Optional dependencies: say which extra to install instead of a traceback."""

from __future__ import annotations

from importlib.util import find_spec

_PROBES = {
    "train": "torch",
    "report": "matplotlib",
    "mlflow": "mlflow",
    "wandb": "wandb",
    "dicom": "highdicom",
    "spatial": "anndata",
    "zarr": "zarr",
    "cluster": "distributed",
}


def require(extra: str, purpose: str) -> None:
    """Raise unless the extra that `purpose` needs is installed.

    Args:
        extra: a name of `[project.optional-dependencies]`, e.g. ``train``.
        purpose: what the user asked for, e.g. ``histonuc train``.

    Raises:
        ValueError: the extra is missing; the message holds the command that installs it.
    """
    if not is_installed(extra):
        raise ValueError(
            f"{purpose} needs the extra {extra!r}, which is not installed: "
            f"pip install 'histonuc[{extra}]'"
        )


def is_installed(extra: str) -> bool:
    """Whether the extra's main package can be imported."""
    return find_spec(_PROBES[extra]) is not None
