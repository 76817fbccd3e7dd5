"""The server of the viewer: its port, its link, and its end."""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from histonuc.viewing.entries import Entry, find_entries

if TYPE_CHECKING:
    import uvicorn

    from histonuc.data.store import Store

LOOPBACK = "127.0.0.1"
_GRACE_S = 1
"""How long a last answer may take when the server ends."""
_KEEP_ALIVE_S = 75
"""How long a connection of the browser may rest between two requests."""
_LOOK_S = 0.2
"""How often it is looked whether nobody asked for long."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """What the page shows first.

    Attributes:
        x: of the centre, in level-0 pixels.
        y: of the centre, in level-0 pixels.
        magnification: 40 for 0.25 µm a pixel of the screen.
    """

    x: float
    y: float
    magnification: float

    @staticmethod
    def parse(text: str) -> Place:
        """Read ``X,Y,MAG``.

        Raises:
            ValueError: something else.

        >>> Place.parse("1200,800.5,20")
        Place(x=1200.0, y=800.5, magnification=20.0)
        """
        try:
            x, y, magnification = (float(word) for word in text.split(","))
        except ValueError:
            x = y = magnification = -1.0
        if not (abs(x) < 1e7 and abs(y) < 1e7 and 0.01 <= magnification <= 1000):
            raise ValueError(f"--at {text}: expected X,Y,MAG as in 12000,8000,20")
        return Place(x=x, y=y, magnification=magnification)


class Viewer:
    """A server that listens from the moment it is made, and answers while `run` runs.

    Args:
        entries: what can be looked at.
        slides: folder in which slides are looked for that were moved.
        port: of this machine; 0 for any that is free.
        idle_stop_s: ends `run` when nobody asked for so many seconds; None for never.
        by: name of the person who corrects; None for that of the login.
        read_only: nothing can be corrected.
        tuned: folder for networks that are fine-tuned; None for beside each result.
        replay: store that networks may be fine-tuned on as well; None for none.

    Raises:
        ValueError: the port is taken, or there is none of this number; or `replay` is no store.
    """

    def __init__(
        self,
        entries: Sequence[Entry],
        *,
        slides: Path | None = None,
        port: int = 0,
        idle_stop_s: float | None = None,
        by: str | None = None,
        read_only: bool = False,
        tuned: Path | None = None,
        replay: Path | None = None,
    ) -> None:
        self._entries, self._slides, self._idle_stop_s = tuple(entries), slides, idle_stop_s
        self._by, self._read_only, self._tuned = by, read_only, tuned
        self._replay = _open_store(replay)
        self.token = secrets.token_urlsafe(32)
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self._server: uvicorn.Server | None = None
        self._touched = time.monotonic()
        self._ended = threading.Event()

    def link(self, place: Place | None = None) -> str:
        """The address for a browser; what is secret is behind the ``#``, which no server sees.

        Args:
            place: what is shown first.
        """
        at = "" if place is None else f"&at={place.x:g},{place.y:g},{place.magnification:g}"
        return f"http://{LOOPBACK}:{self.port}/#token={self.token}{at}"

    def run(self) -> None:
        """Answer until `stop`, Ctrl-C, or nobody asked for long.

        Raises:
            KeyboardInterrupt: Ctrl-C.
        """
        import uvicorn

        from histonuc.corrections.log import user_name
        from histonuc.viewing.app import make_app
        from histonuc.viewing.correcting import Author
        from histonuc.viewing.library import Library
        from histonuc.viewing.locating import Locator

        author = Author(by=self._by or user_name(), read_only=self._read_only)
        library = Library(self._entries, Locator(self._slides), author, self._tuned, self._replay)
        config = uvicorn.Config(
            make_app(library, self.token, self._touch),
            log_config=None,
            log_level="warning",
            access_log=False,
            http="h11",
            ws="none",
            loop="asyncio",
            lifespan="off",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        self._server = uvicorn.Server(config)
        self._touch()
        threading.Thread(target=self._watch, name="histonuc-viewer-watch", daemon=True).start()
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._ended.set()
            self._socket.close()
            library.close()

    def stop(self) -> None:
        """Let `run` end, from any thread."""
        self._ended.set()
        if self._server is not None:
            self._server.should_exit = True

    def _touch(self) -> None:
        self._touched = time.monotonic()

    def _watch(self) -> None:
        """End the server when its time has come."""
        limit = self._idle_stop_s
        while not self._ended.wait(_LOOK_S):
            if limit is not None and time.monotonic() - self._touched > limit:
                break
        self.stop()


@contextmanager
def serve(
    paths: Sequence[Path | str],
    *,
    slides: Path | None = None,
    idle_stop_s: float | None = None,
    by: str | None = None,
    read_only: bool = False,
    tuned: Path | None = None,
    replay: Path | None = None,
) -> Iterator[Viewer]:
    """A viewer that answers while the block runs, in a thread of its own: for notebooks.

    Args:
        paths: folders of results, and slides.
        slides: see `Viewer`.
        idle_stop_s: see `Viewer`.
        by: see `Viewer`.
        read_only: see `Viewer`.
        tuned: see `Viewer`.
        replay: see `Viewer`.

    Raises:
        ValueError: nothing there.
    """
    viewer = Viewer(
        find_entries([Path(one) for one in paths]),
        slides=slides,
        idle_stop_s=idle_stop_s,
        by=by,
        read_only=read_only,
        tuned=tuned,
        replay=replay,
    )
    thread = threading.Thread(target=viewer.run, name="histonuc-viewer", daemon=True)
    thread.start()
    try:
        yield viewer
    finally:
        viewer.stop()
        thread.join()


def open_browser(link: str) -> None:
    """Open a link in the person's browser, in a thread of its own: starting it takes time.

    On Linux without a screen nothing is opened: browsers of the terminal would take it over.
    """
    screens = {"DISPLAY", "WAYLAND_DISPLAY", "BROWSER"}
    if sys.platform != "linux" or screens & os.environ.keys():
        threading.Thread(target=webbrowser.open, args=(link,), daemon=True).start()


def _open_store(path: Path | None) -> Store | None:
    """A store, while somebody waits for the command, not for the page; None for none."""
    if path is None:
        return None
    from histonuc.data.store import Store  # imports much: other viewers need not wait for it

    return Store.open(path.absolute())


def _listen(port: int) -> socket.socket:
    if not 0 <= port <= 65535:
        raise ValueError(f"--port {port}: expected 1 to 65535, or 0 for any that is free")
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if port:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((LOOPBACK, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise ValueError(f"--port {port}: {error.strerror}; choose another, or none") from None
    return listening
