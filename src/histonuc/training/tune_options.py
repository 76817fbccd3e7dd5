"""Options of `histonuc fine-tune`, apart from it: the command line knows them without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class TuneOptions:
    """All options of `histonuc fine-tune`."""

    data: Path
    """Store with the labels, as `histonuc prepare` writes it."""
    out: Path
    """Run folder to write; the model that is started from stays as it is."""
    init: str = "default"
    """Model to start from: a run folder, a checkpoint or a shipped model's name."""
    epochs: int = 10
    """Epochs of 120 crops with labels, and as many without where the store has such tiles."""
    minutes: float = 0.0
    """Time for the training; 0 for no limit."""
    folds: tuple[int, ...] = ()
    """Folds to learn from; all but those held out when not given."""
    val_folds: tuple[int, ...] = ()
    """Folds held out, to compare before and after; when not given the last one with outlines, or
    the last one where fewer than two folds have some."""
    replay: str = ""
    """Second store with the same classes, against forgetting: as many crops again are of it."""
    init_share: float = 0.25
    """Share of the start's weights in those that are saved: with more the model forgets less of
    other tissue, and learns less of this."""
    whole: bool = False
    """Train the encoder, too; features, trust and taught classifiers do not hold any more."""
    threads: int = 0
    """Threads of the arithmetic; 0 for torch's choice."""
    seed: int = 0
    """Seed of the order and the crops."""
    resume: bool = False
    """Go on from the run folder's last checkpoint."""
