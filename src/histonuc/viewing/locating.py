"""Finds the slide of a result, also where it was moved since: by its content, not by its name."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from histonuc.files import read_json, write_json
from histonuc.inference.sources import content_sha256, find_inputs
from histonuc.offline import cache_folder
from histonuc.slides import is_slide_folder

log = logging.getLogger(__name__)

MAX_REMEMBERED = 10_000
"""Places of slides in the user's cache; the oldest go."""


class Locator:
    """Knows where slides may be.

    Args:
        folder: where slides are looked for that are not where they were; None for nowhere.
        memory: file that places are remembered in; None for that in the user's cache.

    Attributes:
        folder: see above.
    """

    def __init__(self, folder: Path | None = None, memory: Path | None = None) -> None:
        self.folder = folder
        self._memory = cache_folder() / "slides.json" if memory is None else memory
        self._by_size: dict[int | None, list[Path]] | None = None
        self._lock = threading.Lock()

    def find(self, raw: Mapping[str, Any], result: Path) -> Path | None:
        """The slide of a result; None where it is nowhere.

        It is looked for where it was, where it was found before, beside the result, and in the
        folder of slides. A slide that lies elsewhere than it did has to have the same content.

        Args:
            raw: what the summary of the result says.
            result: the folder of the result.
        """
        key = raw.get("fingerprint")
        key = key if isinstance(key, dict) else {}
        before = [key.get("source"), raw.get("source")]
        for place in (Path(name) for name in before if isinstance(name, str) and name):
            if _is_unchanged(place, key):
                return place
        wanted = raw.get("content_sha256")
        if not isinstance(wanted, str):
            return None
        with self._lock:
            for place in self._candidates(before, key, wanted, result):
                if _has_content(place, wanted):
                    self._remember(wanted, place)
                    return place
        return None

    def may_find(self, raw: Mapping[str, Any]) -> bool:
        """A quick guess whether `find` finds a slide; no slide is read."""
        key = raw.get("fingerprint")
        name = key.get("source") if isinstance(key, dict) else None
        if isinstance(name, str) and _exists(Path(name)):
            return True
        return self.folder is not None or raw.get("content_sha256") in self._remembered()

    def _candidates(
        self, before: list[Any], key: Mapping[str, Any], wanted: str, result: Path
    ) -> Iterator[Path]:
        names = [Path(name) for name in before if isinstance(name, str) and name]
        yield from names
        known = self._remembered().get(wanted)
        if isinstance(known, str):
            yield Path(known)
        for name in names:
            yield from (result / name.name, result.absolute().parent / name.name)
        listed, size = self._listed(), key.get("bytes")
        yield from listed.get(size if isinstance(size, int) else None, ())
        yield from listed.get(None, ())

    def _listed(self) -> dict[int | None, list[Path]]:
        """Slides in the folder, by size; None for folders, whose size says nothing."""
        if self._by_size is None:
            self._by_size = {}
            for path in [] if self.folder is None else _slides_in(self.folder):
                size = None if path.is_dir() else path.stat().st_size
                self._by_size.setdefault(size, []).append(path)
        return self._by_size

    def _remembered(self) -> dict[str, Any]:
        if not self._memory.is_file():
            return {}
        try:
            return read_json(self._memory, "list of slides")
        except ValueError:
            return {}  # a cache: it is made anew

    def _remember(self, content: str, place: Path) -> None:
        known = self._remembered()
        if known.pop(content, None) == str(place.absolute()):
            return
        known[content] = str(place.absolute())
        try:
            write_json(dict(list(known.items())[-MAX_REMEMBERED:]), self._memory)
        except (OSError, ValueError):  # looking works without
            log.debug("the place of %s cannot be remembered", place, exc_info=True)


def _slides_in(folder: Path) -> list[Path]:
    try:
        return find_inputs([folder])[0]
    except (OSError, ValueError) as error:
        log.warning("--slides: %s", error)
        return []


def _exists(place: Path) -> bool:
    try:
        return place.exists()
    except (OSError, ValueError):  # a name with a zero in it is no name
        return False


def _is_unchanged(place: Path, key: Mapping[str, Any]) -> bool:
    """Whether a file is there with the size and the time that it had."""
    if not _exists(place):
        return False
    status = place.stat()
    return (status.st_size, status.st_mtime_ns) == (key.get("bytes"), key.get("modified_ns"))


def _has_content(place: Path, wanted: str) -> bool:
    try:
        is_slide = place.is_file() or is_slide_folder(place)
        return is_slide and content_sha256(place) == wanted
    except (OSError, ValueError):
        return False
