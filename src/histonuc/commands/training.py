"""Commands that train networks."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from histonuc.commands.outcome import Outcome
from histonuc.extras import require
from histonuc.training.config import TrainConfig


def config_train() -> Outcome:
    """Print the configuration of `histonuc train` with every default and its comment."""
    from histonuc.training.config import commented_yaml

    text = commented_yaml()
    return Outcome(lines=[text.rstrip("\n")], data={"yaml": text})


def train(config: Annotated[TrainConfig, Parameter(name="*")]) -> Outcome | None:
    """Train one network; --config FILE gives values that flags override.

    Where several processes train together, only the first one has an outcome.

    Args:
        config: All settings.
    """
    require("train", "histonuc train")
    from histonuc.training import loop

    run = loop.train(config)
    if not loop.is_first_process():
        return None
    return Outcome(
        lines=[
            f"run folder: {run}",
            f"next: histonuc evaluate {run} --data {config.data} --folds N --out {run}/scores",
        ],
        data={"run": str(run)},
    )


def crossval(
    config: Annotated[TrainConfig, Parameter(name="*")], *, symmetric: bool = False
) -> Outcome:
    """Train and test one network on each of PanNuke's three rotations; --resume goes on.

    Args:
        config: All settings of each training; --folds and --val-folds are the rotation's.
        symmetric: Rotations that test every fold once (train/validate/test 1/2/3, 2/3/1, 3/1/2), in
            place of the official ones (1/2/3, 2/1/3, 3/2/1).
    """
    require("train", "histonuc crossval")
    from histonuc.evaluation.rotations import CROSSVAL_FILE, rotation_lines
    from histonuc.training import crossval as rotations

    summary = rotations.crossval(config, symmetric=symmetric)
    lines = [*rotation_lines(summary), f"wrote {config.out / CROSSVAL_FILE}"]
    return Outcome(lines=lines, data=summary)
