"""Versions: histonuc's own, in a module that any other can import, and those of its libraries."""

from __future__ import annotations

import platform
from contextlib import suppress

__version__ = "0.1.0"

_LIBRARIES = (
    *("histonuc", "numpy", "numba", "openvino", "torch", "pyarrow", "shapely", "pillow"),
    *("openslide-python", "openslide-bin", "tifffile", "imagecodecs", "zarr", "pydicom"),
)


def library_versions() -> dict[str, str]:
    """Versions of what a result may depend on, as far as it is installed."""
    from importlib.metadata import PackageNotFoundError, version

    import cv2  # says its own: its distribution has several names

    found = {"python": platform.python_version(), "opencv": cv2.__version__}
    for name in _LIBRARIES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
