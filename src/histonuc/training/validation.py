"""Validation within a training: score, log, keep the best, calibrated."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from histonuc.evaluation import Evaluation, evaluate_maps, summarise
from histonuc.evaluation.nucleus_tables import number
from histonuc.metrics.calibration import LOG2_TEMPERATURES, CalibrationCounts
from histonuc.models.model import ModelSpec
from histonuc.models.zoo import save_network
from histonuc.training.crops import find_validation_tiles
from histonuc.training.run import Run, save_last
from histonuc.training.samples import save_samples

log = logging.getLogger(__name__)

_PROBED_TILES = 16
"""Tiles that tell how long all of them take."""


def validate(run: Run) -> None:
    """Score the validation tiles, log, keep the best, and save where the run now stands."""
    begun = time.monotonic()
    evaluation = _evaluate(run, find_validation_tiles(run.config, run.store))
    calibration = evaluation.total.calibration
    joined = evaluation.label_space.classes != run.store.label_space.classes  # of points
    spec = run.bare.spec if joined else _calibrate(run, calibration)
    summary = summarise(evaluation)
    value = find_monitored(summary, run.config.monitor)
    progress = run.progress
    better = value is not None and value > progress.best
    progress.stale = 0 if better else progress.stale + 1
    if better:
        progress.best = float(value)  # type: ignore[arg-type]
    epoch = progress.step / run.steps_per_epoch
    run.tracker.write(
        "epoch",
        progress.step,
        {
            "epoch": epoch,
            "lr": run.learning_rate(max(progress.step - 1, 0)),
            "val": summary,
            "class_ece": number(calibration.class_ece),
            "temperature": spec.representation_options.get("temperature"),
            "best": better,
            "seconds": run.seconds,
        },
    )
    log.info(
        "epoch %.1f  %s%s",
        epoch,
        "  ".join(f"{k} {v:.4f}" for k, v in summary.items() if v is not None),
        "  (best)" if better else "",
    )
    best = run.config.out / "checkpoints" / "best"
    # A run has a best checkpoint even where its score is never defined (no nuclei in the truth).
    if run.fabric.is_global_zero and (better or not (best / "model.safetensors").is_file()):
        save_network(run.judged, best, spec=spec)
        save_samples(evaluation, run.config.out / "samples")
    progress.due = False
    progress.validation_seconds = time.monotonic() - begun
    save_last(run)


def find_monitored(summary: Mapping[str, float | None], monitor: str) -> float | None:
    """The score that decides which checkpoint is the best.

    Points have none that `--monitor` may name: there it is their class F1, or F1 without classes.
    Of points that mark some of the nuclei only it is the share of those found whose class is right,
    or without classes the share that is found.
    """
    if monitor in summary:
        return summary[monitor]
    of_classes, of_all = "class_f1_centroid", "f1_centroid"
    if of_all not in summary:
        of_classes, of_all = "class_accuracy_centroid", "recall_centroid"
    value = summary[of_classes]
    return summary[of_all] if value is None else value


def expect_validation(run: Run) -> None:
    """Find out how long a validation takes, from a few tiles, for `--minutes` to include it.

    Raises:
        ValueError: longer than there are minutes.
    """
    if not run.config.minutes or run.progress.validation_seconds:
        return
    tiles = find_validation_tiles(run.config, run.store)
    share = len(range(0, len(tiles), run.fabric.world_size))
    few = tiles[:: max(len(tiles) // _PROBED_TILES, 1)][:_PROBED_TILES]
    _score_share(run, few[:1])  # what is compiled or loaded at first is not counted
    begun = time.monotonic()
    _score_share(run, few)
    run.progress.validation_seconds = (time.monotonic() - begun) * share / len(few)
    if run.over_time:
        needed = run.progress.validation_seconds / 60
        raise ValueError(
            f"--minutes {run.config.minutes:g} includes the validation at the end, and that of "
            f"{len(tiles)} tiles alone takes about {needed:.1f} minutes here: give more"
        )


def _calibrate(run: Run, counts: CalibrationCounts) -> ModelSpec:
    """What the judged model is, with the temperature that its validation nuclei ask for.

    A temperature that the user gave stays. Nor is there one to take where the likelihood has no
    minimum: nothing matched, one class only, or every class right. The model in training keeps its
    own temperature, so that a resumed run scores as an undisturbed one does.
    """
    spec = run.bare.spec
    lowest, highest = 2.0 ** LOG2_TEMPERATURES[[0, -1]]
    found = lowest < counts.temperature < highest  # not for NaN
    if "temperature" in run.config.representation_options or not found:
        return spec
    # p^(1/T) of probabilities that went through p^(1/S) already is p^(1/ST).
    temperature = round(run.bare.representation.temperature * counts.temperature, 4)
    options = {**spec.representation_options, "temperature": temperature}
    return replace(spec, representation_options=options)


def _evaluate(run: Run, tiles: NDArray[np.int64]) -> Evaluation:
    """Each process scores its share; counts are added."""
    fabric = run.fabric
    part = _score_share(run, tiles[fabric.global_rank :: fabric.world_size])
    if fabric.world_size == 1:
        return part
    parts: list[Evaluation] = [None] * fabric.world_size  # type: ignore[list-item]
    torch.distributed.all_gather_object(parts, part)
    total = parts[0]
    for other in parts[1:]:
        total = total + other
    return total


def _score_share(run: Run, tiles: NDArray[np.int64]) -> Evaluation:
    """Scores of some tiles, by this process alone."""
    fabric, model = run.fabric, run.judged
    model.eval()

    def predict(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        batch = torch.from_numpy(images).permute(0, 3, 1, 2).to(fabric.device)
        with torch.inference_mode(), fabric.autocast():
            maps = model.representation.activate(model(batch))
        array: NDArray[np.float32] = maps.float().cpu().numpy()
        return array

    return evaluate_maps(
        run.store,
        tiles,
        predict,
        representation=model.representation,
        label_space=run.store.label_space,
        mpp=run.config.mpp,
    )
