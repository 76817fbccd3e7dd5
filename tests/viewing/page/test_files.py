"""The files of the page: others' are what they were, and all modules are named for loading at once."""

import hashlib
import re
from pathlib import Path

import pytest

import histonuc.viewing

PAGE = Path(histonuc.viewing.__file__).parent / "page"
VENDORED = {  # OpenLayers 10.11.0 (BSD-2-Clause) and earcut 3.2.4 (ISC), as npm has them
    "ol.js": "a4e607e98b56846d543e2131161720845c7a80170d5f00aa2bc8b6c4e0f9194a",
    "ol.css": "abc8afd72cc10bd29cc143f443bae4a6804bd3cb3fb262e6b6a6bc6c924ea34f",
    "ol.LICENSE.md": "6c4347b83a8c9feef18d57b18e3b6c44cf901b3c344a4a1fbd837e421555ab8e",
    "earcut.js": "04f5b4ddfad1b4133f1a633a4b66f8df8023e7a7d163a50cde46ec719fbfe5ca",
    "earcut.LICENSE": "0b348fff56384b43dbb37593906904e56d0f9deb51eae590d4dc6d427fbf1808",
}


@pytest.mark.parametrize("name", VENDORED)
def test_vendored_files_are_what_they_were(name):
    content = (PAGE / "vendor" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == VENDORED[name]


def test_nothing_else_is_vendored():
    assert {file.name for file in (PAGE / "vendor").iterdir()} == set(VENDORED)


def test_the_index_names_all_modules():
    """Otherwise the browser finds them one after the other, which takes longer."""
    text = (PAGE / "index.html").read_text()
    named = set(re.findall(r'modulepreload" href="/page/([^"]+)"', text))
    imported = set()
    for file in PAGE.glob("*.js"):
        found = re.findall(r'^(?:import|export)[^;]*? from "\./([^"]+)";', file.read_text(), re.M)
        imported |= set(found)
    assert named == imported
    assert imported | {"main.js", "types.js"} >= {file.name for file in PAGE.glob("*.js")}


def test_nothing_comes_from_elsewhere():
    for file in [*PAGE.glob("*.js"), *PAGE.glob("*.html"), *PAGE.glob("*.css")]:
        addresses = re.findall(r"https?://[^\s\"'`]+", file.read_text())
        assert [url for url in addresses if not url.startswith("http://www.w3.org/")] == [], file
        assert "innerHTML" not in file.read_text(), file
