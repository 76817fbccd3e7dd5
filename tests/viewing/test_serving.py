"""The server begins and ends as people ask it to; the command line around it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.request import Request, urlopen

import pytest

import histonuc
from histonuc import cli
from histonuc.viewing import serving
from histonuc.viewing.entries import find_entries
from histonuc.viewing.serving import Place, Viewer, open_browser, serve

SOURCE = Path(histonuc.__file__).parents[1]


def start(*words):
    """The program as people start it, and its link."""
    environment = os.environ | {"PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "histonuc", "view", "--no-browser", *map(str, words)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    return process, process.stdout.readline().strip()


def ask(link, path="/api/slides"):
    address, token = re.fullmatch(
        r"(http://127\.0\.0\.1:\d+)/#token=([\w-]{43})(?:&.*)?", link
    ).groups()
    request = Request(address + path, headers={"Authorization": f"Bearer {token}"})
    with urlopen(request, timeout=200) as reply:
        return json.loads(reply.read())


def test_ctrl_c_ends_it_cleanly(made) -> None:
    process, link = start(made.folder, "--at", "100,200.5,20")
    assert link.endswith("&at=100,200.5,20")
    assert ask(link)["slides"][0]["name"] == "slide.png"
    assert ask(link, "/api/slides/0")["name"] == "slide.png"  # its index is being made
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=200)
    assert (process.returncode, errors) == (0, "")
    assert output.splitlines()[-1] == "The viewer has ended."


def test_it_ends_by_itself_when_nobody_asks(made, capsys) -> None:
    began = time.monotonic()
    assert cli.run(["view", str(made.folder), "--no-browser", "--idle-stop", "0.01"]) == 0
    assert 0.6 <= time.monotonic() - began < 200
    assert "The viewer has ended." in capsys.readouterr().out


def test_who_asks_keeps_it_alive(made, monkeypatch) -> None:
    now, looked = [0.0], threading.Semaphore(0)

    def monotonic():
        looked.release()
        return now[0]

    monkeypatch.setattr(serving, "time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(serving, "_LOOK_S", 0.001)
    with serve([made.folder], idle_stop_s=100) as viewer:
        for _ in range(5):
            assert ask(viewer.link(), "/api/ping") == {"ok": True}
            now[0] += 90
            while looked.acquire(blocking=False):
                pass
            for _ in range(3):  # two of these began after the clock went on
                assert looked.acquire(timeout=200)
        assert not viewer._ended.is_set()
        now[0] += 20
        assert viewer._ended.wait(200)


def test_the_browser_is_opened_with_the_link(made, monkeypatch, capsys) -> None:
    opened = threading.Event()
    links = []
    monkeypatch.setattr("webbrowser.open", lambda link: (links.append(link), opened.set()))
    monkeypatch.setenv("DISPLAY", ":0")
    assert cli.run(["view", str(made.folder), "--idle-stop", "0.01"]) == 0
    assert opened.wait(200)
    assert links == [capsys.readouterr().out.splitlines()[0]]


def test_no_browser_takes_over_a_terminal(monkeypatch) -> None:
    monkeypatch.setattr("webbrowser.open", lambda link: pytest.fail("it was opened"))
    monkeypatch.setattr("sys.platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    open_browser("http://127.0.0.1/")


def test_a_wanted_port_is_taken_and_a_taken_one_is_refused(made) -> None:
    viewer = Viewer(find_entries([made.folder]))
    with pytest.raises(ValueError, match=f"--port {viewer.port}: "):
        Viewer(find_entries([made.folder]), port=viewer.port)
    viewer._socket.close()
    again = Viewer(find_entries([made.folder]), port=viewer.port)
    assert again.port == viewer.port
    again._socket.close()


def test_it_listens_to_this_machine_only(made) -> None:
    viewer = Viewer(find_entries([made.folder]))
    assert viewer._socket.getsockname()[0] == "127.0.0.1"
    viewer._socket.close()


def test_every_viewer_has_its_own_token(made) -> None:
    with serve([made.folder]) as one, serve([made.folder]) as other:
        assert one.token != other.token
        assert one.port != other.port


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{tmp}/nowhere"], "nothing at"),
        (["{tmp}"], "no result in"),
        (["{result}", "--at", "1,2"], "--at 1,2: expected X,Y,MAG"),
        (["{result}", "--at", "1,2,0"], "--at 1,2,0: expected X,Y,MAG"),
        (["{result}", "--slides", "{tmp}/nowhere"], "no such folder"),
        (["{result}", "--idle-stop", "0"], "--idle-stop 0: expected minutes above 0"),
        (["{result}", "--port", "70000"], "--port 70000"),
    ],
)
def test_mistakes_are_one_line(words, message, made, tmp_path, capsys) -> None:
    words = [word.format(tmp=tmp_path, result=made.folder) for word in words]
    assert cli.run(["view", "--no-browser", *words]) == 2
    assert message in capsys.readouterr().err


def test_a_place_is_three_numbers() -> None:
    assert Place.parse("1,2.5,40") == Place(x=1, y=2.5, magnification=40)
    for text in ("", "1,2", "1,2,3,4", "a,2,3", "nan,2,3", "1,inf,3", "1,2,-3"):
        with pytest.raises(ValueError, match="expected X,Y,MAG"):
            Place.parse(text)


def test_an_answer_that_nobody_waits_for_is_not_made(made, monkeypatch) -> None:
    import socket

    from histonuc.viewing.pictures import SlidePicture

    made_tiles, go_on = [], threading.Event()

    def slow(self, level, column, row):
        made_tiles.append(column)
        go_on.wait(200)
        return b"jpeg"

    def wait_until(is_so):
        end = time.monotonic() + 200
        while not is_so():
            assert time.monotonic() < end
            time.sleep(0.005)

    def ask_for_tile(column):
        connection = socket.create_connection(("127.0.0.1", viewer.port), 200)
        head = f"GET /api/slides/0/tiles/0/{column}/0 HTTP/1.1\r\nHost: localhost\r\n"
        connection.sendall(f"{head}Authorization: Bearer {viewer.token}\r\n\r\n".encode())
        return connection

    monkeypatch.setattr(SlidePicture, "tile", slow)
    with serve([made.folder]) as viewer:
        ask(viewer.link(), "/api/slides/0")
        open_ones = viewer._server.server_state.connections
        wait_until(lambda: not open_ones)
        waiting = [ask_for_tile(column) for column in range(3)]
        wait_until(lambda: len(made_tiles) == 3)
        gone = [ask_for_tile(column) for column in (3, 4)]
        wait_until(lambda: len(open_ones) == 5)
        for connection in gone:
            connection.close()  # what it asked for was sent before, and so is read before
        wait_until(lambda: len(open_ones) == 3)
        waiting.append(ask_for_tile(0))
        go_on.set()
        for connection in waiting:  # the last one's turn comes after that of those who left
            assert connection.recv(12) == b"HTTP/1.1 200"
            connection.close()
    assert sorted(made_tiles) == [0, 0, 1, 2]
