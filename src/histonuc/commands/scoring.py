"""Commands that judge networks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from histonuc.commands.outcome import Outcome
from histonuc.extras import require

if TYPE_CHECKING:
    from histonuc.evaluation.evaluate import Progress
    from histonuc.evaluation.records import Scores


def evaluate(
    model: str = "",
    *,
    data: Path,
    out: Path,
    folds: tuple[int, ...] = (),
    sources: tuple[str, ...] = (),
    part: str = "",
    predictions: Path | None = None,
    save_predictions: Path | None = None,
    save_as: Literal["labels", "hovernet", "pannuke"] = "labels",
    types: dict[str, str] | None = None,
    binary_only: bool = False,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto",
    flips: bool = False,
) -> Outcome:
    """Score a model, or predictions made elsewhere, on folds of a store and write scores.json.

    Args:
        model: A run folder, a checkpoint, an exported model file, or a shipped model's name.
        data: Store, as `histonuc prepare` writes it.
        out: Folder for scores.json and the tables beside it.
        folds: Folds to score; all when not given.
        sources: Data sets to score; all when not given.
        part: Score only a part of these tiles, 2/8 the second of eight; see `merge-scores`.
        predictions: Instead of a model: a folder of label images or of HoVer-Net or CellViT JSON,
            an npy in PanNuke's shape, or a folder of --save-predictions.
        save_predictions: Folder to save the model's predictions in; --predictions reads them.
        save_as: Format of the saved predictions: label images with classes, HoVer-Net's JSON, or
            an npy in PanNuke's shape.
        types: Class of each type of the predictions: --types.1 Neoplastic.
        binary_only: Leave classes out, so that any model can be scored on any store.
        device: auto, cpu, cuda:0 or mps.
        precision: As for `histonuc predict`.
        flips: As for `histonuc predict`.
    """
    _refuse_mixtures(model, predictions, types, save_predictions)
    from histonuc.data.store import Store
    from histonuc.evaluation import TileSelection, score_files, score_model

    selection = TileSelection(folds=folds, sources=sources, part=part)
    if predictions is not None:
        score = partial(score_files, Path(predictions), type_map=types)
    else:
        from histonuc.models.loading import load_model

        loaded = load_model(model, device, precision, flips=flips)
        save = (Path(save_predictions), save_as) if save_predictions else None
        score = partial(score_model, loaded, flips=flips, save=save)
    store = Store.open(data)
    with _showing_progress(len(selection.find_tiles(store))) as progress:
        _, scores = score(store, selection, Path(out), binary_only=binary_only, progress=progress)
    return Outcome(lines=_list_written(scores, out, save_predictions), data=scores)


def _refuse_mixtures(
    model: str,
    predictions: Path | None,
    types: dict[str, str] | None,
    save_predictions: Path | None,
) -> None:
    """Refuse both or neither of a model and files, and options of the one with the other."""
    if bool(model) == bool(predictions):
        raise ValueError("expected either a model or --predictions PATH to evaluate")
    if types and not predictions:
        raise ValueError("--types names the classes of --predictions; a model knows its own")
    if save_predictions and predictions:
        raise ValueError("--save-predictions saves those of a model; --predictions are files now")


def _list_written(scores: Scores, out: Path, save_predictions: Path | None) -> list[str]:
    """The scores in short, and what was written."""
    from histonuc.evaluation import score_lines
    from histonuc.evaluation.classes import describe_merging

    lines = score_lines(scores)
    if merged := scores["data"].get("merged_classes"):
        lines.append(f"classes of the store as they are scored: {describe_merging(merged)}")
    lines.append(f"wrote {out}/scores.json")
    if save_predictions:
        lines.append(f"wrote the predictions to {save_predictions}")
    return lines


@contextmanager
def _showing_progress(num_tiles: int) -> Iterator[Progress]:
    """What shows the progress of a scoring, in the way that `predict` shows its own."""
    from histonuc.inference.progress import open_meter

    with open_meter(1) as meter:
        meter.start("scoring", num_tiles)
        yield lambda row, area_mm2: meter.advance(1, row.num_predicted, area_mm2)


def merge_scores(scores: tuple[Path, ...], *, out: Path) -> Outcome:
    """Make one score folder of several, the same as if all their tiles had been scored at once.

    Args:
        scores: Folders of `histonuc evaluate`, each of other tiles of one store, by one model.
        out: Folder for the scores.json of all and the tables beside it.
    """
    from histonuc.evaluation import pieces, score_lines

    _, merged = pieces.merge_scores(scores, out)
    return Outcome(lines=[*score_lines(merged), f"wrote {out}/scores.json"], data=merged)


def compare(scores: tuple[Path, ...], *, out: Path | None = None, seed: int = 0) -> Outcome:
    """Compare models on the same tiles: paired differences with 95 % intervals and tests.

    Args:
        scores: Folders of `histonuc evaluate` or `histonuc crossval`; all against the first.
        out: Folder for compare.json and the figure.
        seed: Seed of the bootstrap and the permutation test.
    """
    from histonuc.evaluation import comparison

    if out is not None:
        require("report", "histonuc compare --out")
    result = comparison.compare(scores, seed=seed)
    lines = comparison.comparison_lines(result)
    if out is not None:
        from histonuc.evaluation.table_files import write_tables
        from histonuc.files import write_json
        from histonuc.reporting.forest import write_forest_plot

        out = Path(out)
        figures = write_forest_plot(result, out)
        tables = write_tables(comparison.comparison_tables(result), out)
        write_json(result, out / comparison.COMPARISON_FILE)
        lines += [
            "",
            *(f"wrote {path}" for path in (*figures, *tables, out / comparison.COMPARISON_FILE)),
        ]
    return Outcome(lines=lines, data=result)


def report(
    runs: tuple[Path, ...] = (),
    *,
    out: Path,
    scores: tuple[Path, ...] = (),
    data: Path | None = None,
) -> Outcome:
    """Write one self-contained HTML of runs and their scores.

    Args:
        runs: Run folders of `histonuc train`, or folders of `histonuc crossval`.
        out: HTML file to write.
        scores: Score folders of `histonuc evaluate`; those inside the runs are found by themselves.
        data: Store, for the preview of the data.
    """
    require("report", "histonuc report")
    from histonuc.reporting import page

    path = page.report(runs, out, scores=scores, data=data)
    return Outcome(lines=[f"open {path}"], data={"report": str(path)})
