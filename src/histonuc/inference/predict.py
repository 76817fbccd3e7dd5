"""`histonuc predict`: many inputs, one folder of results each, resumable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from histonuc.exports.cohort import write_cohort
from histonuc.exports.summary import SUMMARY_FILE, SlideResult
from histonuc.files import failure_lines, file_sha256, log_failure, seal, write_json
from histonuc.inference.certainty import choose_certainty
from histonuc.inference.cluster import connect
from histonuc.inference.corrected import CorrectedResult, correct_result
from histonuc.inference.drawn_reader import find_regions
from histonuc.inference.options import DEFAULTS, PredictOptions
from histonuc.inference.pipeline import can_read
from histonuc.inference.plan import plan_slide
from histonuc.inference.printed import list_results, result_lines
from histonuc.inference.progress import open_meter
from histonuc.inference.results import RESULT_FORMAT, ResultFolder
from histonuc.inference.scale import resolve_scale
from histonuc.inference.slide import predict_slide
from histonuc.inference.sources import find_inputs, fingerprint, name_folders
from histonuc.inference.tiles import Box
from histonuc.models.engines import num_cores
from histonuc.models.loading import load_model
from histonuc.models.model import Model
from histonuc.plain_text import counted, readable
from histonuc.slides import open_slide

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictSummary:
    """What a prediction did.

    Attributes:
        out: folder of the results.
        items: the result of every finished input, in order.
        skipped: sources among them that an earlier run had finished.
        failed: sources that could not be predicted, with the reason.
        corrected: what people corrected of the result of each input, in the same order.
    """

    out: Path
    items: list[SlideResult] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    corrected: list[CorrectedResult] = field(default_factory=list)

    def add(self, result: CorrectedResult) -> None:
        """Take the result of one more input."""
        self.items.append(result.result)
        self.corrected.append(result)

    def list_corrected(self) -> list[tuple[int, str]]:
        """For each input the number of corrected nuclei and who did it; empty if nobody did."""
        rows = [(one.num_corrected, ", ".join(one.people)) for one in self.corrected]
        return rows if any(number for number, _ in rows) else []

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON; also the content of ``OUT/summary.json``."""
        corrected = [record for one in self.corrected if (record := one.to_dict())]
        return seal(
            {
                "out": str(self.out),
                "num_nuclei": sum(item.num_nuclei for item in self.items),
                "items": [item.to_record() for item in self.items],
                "skipped": self.skipped,
                "failed": self.failed,
                **({"corrected": corrected} if corrected else {}),
            }
        )

    def lines(self) -> list[str]:
        """The same for people: all about a single input, a table of several."""
        if len(self.items) == 1 and not self.failed:
            return result_lines(self.corrected[0], self.skipped)
        lines = list_results(self.corrected, self.skipped)
        total = counted(sum(item.num_nuclei for item in self.items), "nucleus")
        lines.append(f"{counted(len(self.items), 'input')}, {total} in all, in {self.out}")
        return lines + failure_lines(self.failed)


def predict(
    paths: Sequence[str | PathLike[str]] | str | PathLike[str],
    out: str | PathLike[str],
    options: PredictOptions = DEFAULTS,
    *,
    model: Model | None = None,
    finish: Callable[[SlideResult], SlideResult] | None = None,
) -> PredictSummary:
    """Find, outline and classify the nuclei of images and slides.

    Args:
        paths: images, slides, and folders that are searched for them; one or several.
        out: folder for the results, one folder inside for each input.
        options: all options.
        model: a loaded model; the one that `options` names where None. Workers of a cluster load
            the one that `options` names, and refuse when it is another.
        finish: does something more with each result, such as to give it other classes, and returns
            its new record; also with results that an earlier run had finished.

    Raises:
        ValueError: no input, no such cluster, no such model, or an impossible value. A bad input
            among others does not raise: see `PredictSummary.failed`.
    """
    given, out = [paths] if isinstance(paths, str | PathLike) else paths, Path(out)
    sources, missing = find_inputs([Path(path) for path in given])
    _check_paths(options, out)
    if model is None:
        wanted = options.model, options.device, options.precision
        model = load_model(*wanted, streams=num_cores(), flips=options.flips)
    options.check_for(model.spec.mpp)
    choose_certainty(options, model)  # refuses what the model cannot tell
    _check_embeddings(options, model)
    _check_writable(out)
    summary = PredictSummary(out=out)
    summary.failed.extend(
        {"source": readable(str(path)), "error": why} for path, why in missing.items()
    )
    with (
        open_meter(len(sources)) as meter,
        connect(options.cluster) if options.cluster else nullcontext() as client,
    ):
        for source, folder in zip(sources, name_folders(sources, out), strict=True):
            meter.next_input()
            try:
                key = make_key(source, options, model)
                result = _read_finished(source, folder, key, options, model)
                if result is not None:
                    summary.skipped.append(readable(str(source)))
                else:
                    result = predict_slide(source, folder, key, options, model, meter, client)
                if finish is not None:
                    result = finish(result)
                summary.add(correct_result(result, folder.path))
            except Exception as error:  # whatever ails one input must not cost the others
                summary.failed.append(
                    {"source": readable(str(source)), "error": log_failure(source, error, log)}
                )
    _write_summary(summary)
    return summary


def _check_paths(options: PredictOptions, out: Path) -> None:
    """Refuse paths that no input could be predicted with, before any is touched."""
    if options.regions is not None and not options.regions.exists():
        raise ValueError(f"--regions {options.regions}: no such file or folder")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file: expected a folder, or a name for a new one")


def _check_writable(out: Path) -> None:
    """Make the folder for the results, and refuse one that cannot be written to."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=out):
            pass
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise ValueError(
            f"--out {out}: nothing can be written there ({why}): choose another place"
        ) from error


def _check_embeddings(options: PredictOptions, model: Model) -> None:
    """Refuse embeddings of a model that gives no features, before anything is done."""
    if options.embeddings and not model.spec.features:
        raise ValueError(
            f"--embeddings: the model {model.name} gives no features of nuclei: leave the option "
            "out, or use a model that was trained with some; `histonuc models` lists those shipped"
        )


def make_key(source: Path, options: PredictOptions, model: Model) -> dict[str, Any]:
    """Everything the nuclei of an input depend on: it is done again when any of it changes.

    Raises:
        ValueError: no regions for the input.
        OSError: the input is gone.
    """
    regions, classifier = options.regions, options.classifier
    return {
        **fingerprint(source),
        "format": RESULT_FORMAT,
        "model_sha256": model.sha256,
        "precision": model.precision,
        **options.key(),
        "regions_sha256": file_sha256(find_regions(regions, source)) if regions else None,
        **({"classifier_sha256": file_sha256(classifier)} if classifier else {}),
    }


def _read_finished(
    source: Path,
    folder: ResultFolder,
    key: dict[str, Any],
    options: PredictOptions,
    model: Model,
) -> SlideResult | None:
    """The result of an input that is done; None where it is to be done."""
    if options.overwrite:
        folder.remove_parts()
        return None
    finished = folder.read_finished(key)
    if finished is None or (options.embeddings and not folder.embeddings.is_file()):
        return None
    if _is_readable_again(source, finished, options, model):
        log.warning("%s: regions that could not be read can be now: it is done again", source)
        return None
    folder.remove_parts()  # of a run that was killed at its very end
    return folder.mend_geojson(finished, options) if options.geojson else finished


def _is_readable_again(
    source: Path, result: SlideResult, options: PredictOptions, model: Model
) -> bool:
    """Whether a region that a finished result lacks can be read now, as after an outage.

    Args:
        source: file or folder of the slide.
        result: of the slide.
        options: of the run.
        model: that finds the nuclei.
    """
    missing = [Box(*region.box_xyxy) for region in result.skipped_regions]
    if not missing:
        return False
    with open_slide(source, scene=options.scene, icc=options.icc) as slide:
        scale = resolve_scale(slide, readable(source.name), options.mpp, model)
        plan = plan_slide(slide, source, scale.mpp_xy, options, model)
        # Other tissue may be found now, and other tiles be laid.
        lacking = (tile for tile in plan.tiles if any(map(tile.core.overlaps, missing)))
        return any(can_read(slide, plan, tile) for tile in lacking)


def _write_summary(summary: PredictSummary) -> None:
    """Write it and its table; where that fails, what was done and failed is still to be told."""
    path = summary.out / SUMMARY_FILE
    try:
        write_json(summary.to_dict(), path)
        write_cohort(summary.items, summary.out, summary.list_corrected())
    except OSError as error:
        summary.failed.append({"source": str(path), "error": log_failure(path, error, log)})
