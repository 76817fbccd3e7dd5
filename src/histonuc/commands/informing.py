"""The command that says what a path is."""

from __future__ import annotations

from pathlib import Path

from histonuc.commands.outcome import Outcome


def info(path: Path, *, scene: int | None = None) -> Outcome:
    """Say what a path is: a slide or image, a store, a run, a checkpoint, a prediction.

    At most ten lines; everything there is to say comes with --json. No pixel is decoded.

    Args:
        path: What to look at.
        scene: Which picture of a slide that holds several.
    """
    from histonuc.inspection import describe

    description = describe(Path(path), scene=scene)
    return Outcome(lines=list(description.lines), data=description.facts)
