"""The command that shows results in the browser."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from histonuc.commands.outcome import Outcome


def view(
    paths: tuple[Path, ...],
    *,
    slides: Path | None = None,
    at: str | None = None,
    port: int = 0,
    browser: Annotated[bool, Parameter(negative="--no-browser")] = True,
    idle_stop: float | None = None,
    by: str | None = None,
    read_only: bool = False,
    tuned: Path | None = None,
    replay: Path | None = None,
) -> Outcome:
    """Look at every nucleus of a slide in the browser, and correct them. Ctrl-C ends it.

    The viewer listens to this machine only, and to nobody without the link that it prints.

    Args:
        paths: Folders that `histonuc predict` wrote, of one input or of many; or slides.
        slides: Folder in which slides are looked for that are not where they were.
        at: What to show first: X,Y,MAG, the centre in pixels of the slide and the magnification.
        port: Of this machine; any free one when not given.
        browser: Open the browser; --no-browser prints the link alone.
        idle_stop: Minutes without any request after which the viewer ends by itself.
        by: Name that corrections are kept under; that of the login when not given.
        read_only: Show only; nothing can be corrected.
        tuned: Folder for networks fine-tuned in the page; beside each result when not given.
        replay: Store of other labels that networks may be fine-tuned on as well in the page,
            against forgetting.
    """
    from histonuc.viewing.entries import find_entries
    from histonuc.viewing.serving import Place, Viewer, open_browser

    place = None if at is None else Place.parse(at)
    if slides is not None and not slides.is_dir():
        raise ValueError(f"--slides {slides}: no such folder")
    if idle_stop is not None and not idle_stop > 0:
        raise ValueError(f"--idle-stop {idle_stop:g}: expected minutes above 0")
    idle_stop_s = None if idle_stop is None else 60 * idle_stop
    if by is not None and not (by.strip() and by.isprintable() and len(by) <= 80):
        raise ValueError(f"--by {by!r}: expected a name of 1 to 80 letters")
    viewer = Viewer(
        find_entries(paths),
        slides=slides,
        port=port,
        idle_stop_s=idle_stop_s,
        by=by,
        read_only=read_only,
        tuned=tuned,
        replay=replay,
    )
    link = viewer.link(place)
    sys.stdout.write(f"{link}\nCtrl-C ends the viewer.\n")
    sys.stdout.flush()
    if browser:
        open_browser(link)
    with suppress(KeyboardInterrupt):
        from histonuc.viewing.memory import return_memory  # not before the link: it takes time

        return_memory()
        viewer.run()
    return Outcome(lines=["The viewer has ended."], data={"link": link})
