"""The files of the page that the server hands out, and nothing else: a fixed table."""

from __future__ import annotations

from pathlib import Path

PAGE_FOLDER = Path(__file__).parent / "page"
"""Where they lie."""
INDEX = "index.html"
"""Served at ``/``."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".woff2": "font/woff2",
}
PAGE_FILES: dict[str, str] = {
    file.relative_to(PAGE_FOLDER).as_posix(): _TYPES[file.suffix]
    for file in sorted(PAGE_FOLDER.rglob("*"))
    if file.is_file() and file.suffix in _TYPES
}
"""Content type of each file by its name below ``/page/``; made once, from the package's folder."""
