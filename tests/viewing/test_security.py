"""Who may ask and who may not, by what goes over the wire."""

import json
import re
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from histonuc.viewing import app
from histonuc.viewing.page_files import PAGE_FILES
from histonuc.viewing.security import HEADERS


def exchange(port, raw):
    """Send bytes, read until the server closes."""
    with socket.create_connection(("127.0.0.1", port), 10) as connection:
        parts = []
        with suppress(ConnectionError):  # refused before all of it was read
            connection.sendall(raw)
            while part := connection.recv(1 << 16):
                parts.append(part)
    head, _, content = b"".join(parts).partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head else 0
    return status, head.decode("latin-1").lower(), content


@pytest.fixture
def send(client):
    """Ask with any headers: those of the page, changed; None leaves one out."""

    def ask(path="/api/slides", method="GET", body=b"", more=(), **changes):
        headers = {
            "host": f"127.0.0.1:{client.viewer.port}",
            "authorization": f"Bearer {client.viewer.token}",
            "sec-fetch-site": "same-origin",
            "connection": "close",
        }
        headers |= {name.replace("_", "-"): value for name, value in changes.items()}
        headers |= {"content-length": str(len(body))} if body else {}
        lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
        text = "\r\n".join([f"{method} {path} HTTP/1.1", *lines, *more, "", ""])
        return exchange(client.viewer.port, text.encode("latin-1") + body)

    return ask


def test_the_page_itself_may_ask(send) -> None:
    assert send()[0] == 200


@pytest.mark.parametrize(
    "token",
    [
        *(None, "", "Bearer", "Bearer ", "Bearer x", "Basic {token}", "{token}", "Bearer {token}x"),
        *("Bearer {short}", "bearer {token}", "Bearer {upper}", "Bearer \xe9"),
    ],
)
def test_nobody_may_ask_without_the_token(token, send, client) -> None:
    right = client.viewer.token
    if token is not None:
        token = token.format(token=right, short=right[:-1], upper=right.swapcase())
    for path in ("/api/slides", "/api/slides/0/tiles/0/0/0", "/api/nothing"):
        status, _, content = send(path, authorization=token)
        assert (status, b"error" in content) == (401, True)
    assert send(f"/api/slides?token={right}", authorization=None, cookie=f"token={right}")[0] == 401


def test_two_tokens_are_one_too_many(send, client) -> None:
    again = f"authorization: Bearer {client.viewer.token}"
    assert send(more=[again])[0] == 401


def test_the_token_is_256_bits(client) -> None:
    assert re.fullmatch(r"[\w-]{43}", client.viewer.token)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "localhost:8888"])
def test_this_machine_has_these_names(host, send) -> None:
    assert send(host=host)[0] == 200
    assert send("/", host=host)[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "127.0.0.1.evil.example", "localhost.", "127.0.0.2", "0.0.0.0", "[::]"),
        *("", "evil.example:80", "localhost:x", "localhost:123456", "user@localhost", "evil@::1"),
    ],
)
def test_a_name_that_was_bound_to_this_machine_is_refused(host, send) -> None:
    for path in ("/", "/api/slides", "/api/slides/0/density"):
        assert send(path, host=host)[0] in (400, 403)


def test_no_host_and_two_hosts_are_refused(send) -> None:
    assert send(host=None)[0] == 400
    assert send(more=["host: evil.example"])[0] in (400, 403)


@pytest.mark.parametrize("origin", ["null", "http://evil.example", "https://127.0.0.1", ""])
def test_other_origins_are_refused(origin, send) -> None:
    for path, method in (("/api/slides", "GET"), ("/", "GET"), ("/api/slides/0/counts", "POST")):
        status, head, _ = send(path, method, b"{}" if method == "POST" else b"", origin=origin)
        assert status == 403
        assert "access-control" not in head


def test_the_same_host_at_another_port_is_another_origin(send, client) -> None:
    port = client.viewer.port
    assert send(origin=f"http://127.0.0.1:{port}")[0] == 200
    assert send(origin=f"http://127.0.0.1:{port + 1}")[0] == 403
    assert send(origin=f"http://localhost:{port}")[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none"])
def test_requests_of_other_pages_are_refused(site, send) -> None:
    assert send(sec_fetch_site=site)[0] == 403
    assert send("/", sec_fetch_site=site)[0] == (200 if site == "none" else 403)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE", "X"])
def test_other_methods_are_refused(method, send) -> None:
    for path in ("/", "/api/slides"):
        status, head, _ = send(path, method)
        assert status == 405
        assert "access-control" not in head


def test_a_route_has_one_method(send) -> None:
    assert send("/api/slides/0/density")[0] == 405
    assert send("/api/slides", "POST", b"{}")[0] == 405
    assert send("/", "POST", b"{}")[0] == 405


def test_every_reply_has_the_headers(send) -> None:
    for path, token in (("/", None), ("/api/slides", None), ("/api/slides", "right"), ("/x", None)):
        changes = {} if token else {"authorization": token}
        _, head, _ = send(path, **changes)
        for name, value in HEADERS.items():
            assert f"{name}: {value}".lower() in head
        assert "server:" not in head
        assert "set-cookie" not in head
        assert "access-control" not in head


def test_the_policy_lets_nothing_in_but_the_page() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    for wrong in ("unsafe", "http", "*", "script-src 'self' "):
        assert wrong not in policy
    assert "frame-ancestors 'none'" in policy


@pytest.mark.parametrize(
    "path",
    [
        *("/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page//etc/passwd"),
        *("/page/", "/page/index.html/", "/etc/passwd", "/page/%00", "//page/index.html", "/docs"),
        *("/openapi.json", "/page/..\\app.py", "/api/slides/0/tiles/0/0/..%2f..", "/api/slides/.."),
    ],
)
def test_no_path_leads_anywhere(path, send) -> None:
    status, _, content = send(path)
    assert status == 404
    assert json.loads(content)["error"] == "There is nothing here."


def test_the_files_of_the_page_come_from_a_table(send) -> None:
    assert "index.html" in PAGE_FILES
    for name, kind in PAGE_FILES.items():
        status, head, _ = send(f"/page/{name}", authorization=None)
        assert status == 200
        assert f"content-type: {kind}" in head


def test_large_bodies_are_refused(send) -> None:
    large = b" " * ((1 << 20) + 1)
    assert send("/api/slides/0/counts", "POST", large)[0] == 413
    assert send("/api/slides/0/counts", "POST", b"{}" + b" " * 1000)[0] == 200
    assert send("/api/slides/0/regions/import", "POST", b" " * ((16 << 20) + 1))[0] == 413


def test_a_body_without_a_length_is_bounded_as_well(send) -> None:
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    body = 17 * chunk + b"0\r\n\r\n"
    more = ["transfer-encoding: chunked"]
    status, _, _ = send("/api/slides/0/counts", "POST", body, more, content_length=None)
    assert status in (400, 413)


@pytest.mark.parametrize("content", [b"[]", b"7", b"{", b"\xff", b"[" * 50_000, b'{"a":' * 20_000])
def test_other_bodies_are_refused(content, send) -> None:
    status, _, reply = send("/api/slides/0/counts", "POST", content)
    assert (status, json.loads(reply)["error"]) == (400, "Expected a JSON object.")


def test_long_headers_are_refused(send) -> None:
    assert send(x="y" * 200_000)[0] in (0, 400, 431)
    assert send()[0] == 200


def test_a_websocket_is_not_spoken(send) -> None:
    more = ["upgrade: websocket", "sec-websocket-key: x", "sec-websocket-version: 13"]
    assert send("/api/slides", connection="upgrade, close", more=more)[0] in (200, 400, 403)


def test_labels_and_macro_pictures_have_no_route(send) -> None:
    for name in ("label", "macro", "associated", "associated/label", "thumbnail/label"):
        assert send(f"/api/slides/0/{name}")[0] == 404


def test_no_reply_has_a_path(send, made) -> None:
    secret = str(made.folder.parent).encode()
    for path in ("/api/slides/0/nuclei/1", "/api/slides/0/areas", "/api/slides", "/api/slides/9"):
        assert secret not in send(path)[2]


def test_the_documented_routes_are_those_that_there_are() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/viewer-protocol.md").read_text()
    documented = set(re.findall(r"^### `(GET|POST) ([^`?]+)", page, re.M))
    names = {"slide:int": "N", "level:int": "LEVEL", "column:int": "COLUMN", "row:int": "ROW"}
    names |= {"nucleus:int": "ID"}
    posts = (app.QUESTIONS, app.REGIONS, app.CORRECTIONS)
    groups = (app.PICTURES, app.NUCLEI, app.FACTS, *posts)
    routes = {("POST" if group in posts else "GET", path) for group in groups for path in group}
    assert {
        (method, re.sub(r"\{([^}]+)\}", lambda found: names[found[1]], path))
        for method, path in routes
    } == documented


def test_the_documented_policy_is_the_one_that_is_sent() -> None:
    page = (Path(__file__).parents[2] / "docs/reference/viewer-protocol.md").read_text()
    assert HEADERS["Content-Security-Policy"] in re.sub(r"\s+", " ", page)
