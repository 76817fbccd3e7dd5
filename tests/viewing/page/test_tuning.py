"""The network is fine-tuned from the page, by a stub of the program that takes no time."""

import sys

import pytest

from histonuc.data.store import StoreWriter
from histonuc.taxonomy import THREE
from histonuc.viewing import tune_run, tuning
from histonuc.viewing.serving import serve

from ..test_tuning import STUB, mark_field
from .conftest import assert_quiet, open_screen, write_exact


@pytest.fixture
def tab(browser, tmp_path, monkeypatch):
    """A result with one complete field."""
    (tmp_path / "stub.py").write_text(STUB)
    monkeypatch.setattr(tune_run, "PROGRAM", (sys.executable, str(tmp_path / "stub.py")))
    monkeypatch.setattr(tuning, "is_installed", lambda extra: True)
    folder = write_exact(tmp_path)
    mark_field(folder, 150, 150)
    with StoreWriter(tmp_path / "colon", THREE, source="test"):
        pass
    with serve([folder], by="ada", replay=tmp_path / "colon") as viewer:
        screen = open_screen(browser, viewer)
        screen.open(at="1445,830,20")
        screen.tab("Correct")
        yield screen
        screen.page.context.close()
        assert_quiet(screen, viewer)


def test_fine_tune_is_followed_stopped_and_compared(tab, tmp_path) -> None:
    page = tab.page
    start = page.get_by_role("button", name="Fine-tune", exact=True)
    page.get_by_text("Mark one more field complete").wait_for()
    assert start.is_disabled()
    # A second field, drawn and marked complete as a person does it.
    tab.key("q")
    page.mouse.click(*tab.on_screen(1445, 830))
    page.get_by_label("Field 2 is complete").click()
    page.locator("#tune-why-not", has_text="Mark").wait_for(state="hidden")
    start.click()
    page.locator("#tuning", has_text="Step 4 of at most 80, about 2 min left.").wait_for()
    page.get_by_role("button", name="Stop", exact=True).click()
    page.locator("#tuning", has_text="Stopped. Nothing was kept.").wait_for()
    (tmp_path / "go").write_text("")
    assert page.get_by_label("Also learn from colon, against forgetting").is_checked()
    start.click()
    scores = page.locator("#tune-scores")
    scores.wait_for()
    row = scores.get_by_role("row").filter(has_text="bPQ")
    assert row.inner_text().split("\t") == ["bPQ", "0.500", "0.500", "+0.000 (−0.100 to +0.200)"]
    page.locator(".command", has_text="histonuc predict").wait_for()
    words = next(tmp_path.rglob("words")).read_text()
    assert f"--replay {tmp_path / 'colon'} --json" in words
