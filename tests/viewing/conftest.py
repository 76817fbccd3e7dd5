"""One drawn result for all tests, and a viewer that shows it."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from histonuc.nuclei import Nuclei
from histonuc.viewing.serving import Viewer, serve
from histonuc.viewing.table import NucleusTable

from .made_result import write_result, write_slide


@dataclass(frozen=True)
class Made:
    """A result on the disk.

    Attributes:
        folder: of the result.
        slide: its slide.
        nuclei: its nuclei in the order of the table.
    """

    folder: Path
    slide: Path
    nuclei: Nuclei


@dataclass(frozen=True)
class Client:
    """Asks a viewer as the page does."""

    viewer: Viewer

    def ask(self, path: str, body: Any = None) -> tuple[int, bytes, dict[str, str]]:
        """Status, content and headers of the reply."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self.viewer.token}"}
        request = Request(f"http://127.0.0.1:{self.viewer.port}{path}", data, headers)
        try:
            with urlopen(request, timeout=200) as reply:
                return reply.status, reply.read(), dict(reply.headers)
        except HTTPError as error:
            with error:
                return error.code, error.read(), dict(error.headers)

    def json(self, path: str, body: Any = None) -> Any:
        """The JSON of a reply that went well."""
        status, content, _ = self.ask(path, body)
        assert status == 200, content
        return json.loads(content)

    def write(self, path: str, body: Any) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a reply to what only the page may ask, as browsers send it."""
        headers = {
            "Authorization": f"Bearer {self.viewer.token}",
            "Origin": f"http://127.0.0.1:{self.viewer.port}",
        }
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = Request(f"http://127.0.0.1:{self.viewer.port}{path}", data, headers)
        try:
            with urlopen(request, timeout=200) as reply:
                return reply.status, json.loads(reply.read())
        except HTTPError as error:
            with error:
                return error.code, json.loads(error.read())


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test remembers places of slides in the user's own cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A whole result with its slide, that no test changes."""
    folder = tmp_path_factory.mktemp("viewing")
    slide = write_slide(folder / "slide.png")
    nuclei = write_result(folder / "result", slide)
    return Made(folder / "result", slide, nuclei)


@pytest.fixture(scope="session")
def table(made: Made) -> NucleusTable:
    """Its open table."""
    return NucleusTable(made.folder / "nuclei.parquet")


@pytest.fixture(scope="session")
def client(made: Made, tmp_path_factory: pytest.TempPathFactory):
    """A viewer of that result."""
    os.environ.setdefault("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    with serve([made.folder]) as viewer:
        yield Client(viewer)
