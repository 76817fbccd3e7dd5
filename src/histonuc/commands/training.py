"""Commands that train networks."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from histonuc.commands.outcome import Outcome
from histonuc.extras import require
from histonuc.training.config import TrainConfig
from histonuc.training.tune_options import TuneOptions


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


def fine_tune(options: Annotated[TuneOptions, Parameter(name="*")]) -> Outcome:
    """Let a trained model learn a lab's own labels, in minutes, and compare before and after.

    Args:
        options: All options.
    """
    require("train", "histonuc fine-tune")
    from histonuc.evaluation.comparison import comparison_lines
    from histonuc.training import tuning

    run, comparison = tuning.fine_tune(options)
    file = f"{run}/tuned.onnx"
    lines = [
        *comparison_lines(comparison),
        "",
        f"run folder: {run}; the model that was started from is as it was",
        f"next: histonuc export-model {run} --out {file} --precision fp16 --data {options.data}",
        f"      histonuc predict SLIDE --model {file} --out OUT",
    ]
    return Outcome(lines=lines, data={"run": str(run), "comparison": comparison})


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
