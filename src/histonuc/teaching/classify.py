"""`histonuc classify`: results get a classifier's classes; no network runs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from histonuc.corrections import CORRECTIONS_FILE, CorrectionLog
from histonuc.corrections.merging import merge_logs
from histonuc.exports import TABLE_FILE
from histonuc.exports.cohort import write_cohort
from histonuc.exports.embeddings import EMBEDDINGS_FILE
from histonuc.exports.facts import SlideFacts
from histonuc.exports.source import Source, open_source
from histonuc.exports.summary import SUMMARY_FILE, SlideResult, read_summary
from histonuc.files import failure_lines, log_failure, replacing
from histonuc.inference.certainty import Certainty
from histonuc.inference.drawn import Regions, RegionTally
from histonuc.inference.drawn_reader import find_regions, read_regions
from histonuc.inference.options import PredictOptions
from histonuc.inference.pictures import write_pictures
from histonuc.inference.progress import Tally
from histonuc.inference.quality import DEFOCUSED
from histonuc.inference.results import ResultFolder
from histonuc.inference.tiles import Box
from histonuc.inference.tissue import TissueMask, find_tissue
from histonuc.nuclei import CLASS_TRUST, Nuclei
from histonuc.plain_text import counted, readable
from histonuc.slides import Slide, open_slide
from histonuc.teaching.classifier import Classifier, read_classifier
from histonuc.teaching.embedding import complete_features, read_options
from histonuc.teaching.labels import find_results

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClassifySummary:
    """What was classified.

    Attributes:
        out: folder of the new results.
        items: the new result of each old one.
        failed: results that could not be classified, with the reason.
    """

    out: Path
    items: list[SlideResult] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return {
            "out": str(self.out),
            "items": [item.to_record() for item in self.items],
            "failed": self.failed,
        }

    def lines(self) -> list[str]:
        """The same for people."""
        lines = []
        for item in self.items:
            lines.append(f"{item.source}: {counted(item.num_nuclei, 'nucleus')} -> {item.folder}")
            lines += [
                f"  {name:<30}{row.num_nuclei:>9,}{row.share:>8.1%}"
                for name, row in item.classes.items()
                if row.share
            ]
            lines += [f"  note: {note}" for note in item.warnings]
            lines += [f"  {item.class_note}"] if item.class_note else []
        if any((Path(item.folder) / CORRECTIONS_FILE).is_file() for item in self.items):
            lines.append(f"without the corrections; with them: histonuc summarise {self.out}")
        return lines + failure_lines(self.failed)


def classify_results(paths: Sequence[Path], classifier: Path, out: Path) -> ClassifySummary:
    """Write new results with a classifier's classes; those given stay as they are.

    Args:
        paths: folders of results, or folders that hold some.
        classifier: what `histonuc teach` wrote.
        out: folder for the new results, one folder inside for each.

    Raises:
        ValueError: no result, no classifier, or all of them fail; one that fails among others
            does not raise: see `ClassifySummary.failed`.
    """
    read, sha256 = read_classifier(classifier)
    folders = find_results(paths)
    targets = _name_targets(folders, out)
    summary = ClassifySummary(out=out)
    for folder, target in zip(folders, targets, strict=True):
        try:
            item = classify_result(folder, target, read, sha256, name=str(classifier))
            summary.items.append(item)
        except Exception as error:  # whatever ails one result must not cost the others
            if len(folders) == 1:
                raise
            failure = log_failure(folder, error, log)
            summary.failed.append({"source": str(folder), "error": failure})
    write_cohort(summary.items, out)
    return summary


def classify_result(
    folder: Path, target: Path, classifier: Classifier, sha256: str, *, name: str
) -> SlideResult:
    """Write the result of one slide anew with a classifier's classes.

    Args:
        folder: of the result.
        target: folder for the new one; the same to replace it.
        classifier: the classifier.
        sha256: of its file, in hex.
        name: what the user calls it.

    Returns:
        The new record, written as well.

    Raises:
        ValueError: no finished result, or one that the classifier does not go with; or corrections
            in `target` that cannot be read.
    """
    result = read_summary(folder)
    CorrectionLog(target).read()  # before anything is written
    options, source = read_options(result), open_source(folder / TABLE_FILE)
    nuclei = _Classified(folder, classifier, source, options)
    facts = cast(SlideFacts, source.facts) | SlideFacts(classifier=name, classifier_sha256=sha256)
    new, tally = ResultFolder(target), nuclei.start_tally(classifier)
    slide_file = Path(result.fingerprint.get("source", result.source))
    with _open(slide_file, options) as slide:
        tissue, regions = _find_tissue(slide, slide_file, options)
        tally.by_region = None if regions is None else RegionTally(regions, nuclei.classes)
        outputs = new.open_outputs(
            nuclei.empty, facts, geojson=result.geojson_bytes is not None, frame=options.frame
        )
        with outputs as append:
            for part in nuclei.read():
                append(part)
                tally.add_nuclei(part)
        if folder != target:
            _copy(folder, target)
        write_pictures(slide, new.table, tissue, tally, target, readable(slide_file.name))
    changed = _measure(result, tally, new)
    changed = replace(changed, classifier=name, classifier_sha256=sha256, folder=str(target))
    new.finish(changed)
    return changed


class _Classified:
    """The nuclei of a result with a classifier's classes.

    Args:
        folder: of the result.
        classifier: the classifier.
        source: the nuclei of its table.
        options: that it was predicted with.
    """

    def __init__(
        self, folder: Path, classifier: Classifier, source: Source, options: PredictOptions
    ) -> None:
        features = complete_features(folder, embeddings=classifier.embedding_size > 0)
        classifier.check(features, folder)
        self._probabilities = classifier.probabilities(features)
        self._trust = classifier.judge_trust(features)
        self._source, self._space = source, classifier.label_space
        trusted = self._trust is not None
        self._certainty = Certainty(
            min_class_probability=options.min_class_probability or 0.0,
            min_class_trust=options.min_class_trust or 0.0 if trusted else 0.0,
        )
        names = [name for name in source.extra_names if name != CLASS_TRUST]
        names += [CLASS_TRUST] if trusted else []
        none = Nuclei.empty(self._space, source.mpp, names, source.text_names)
        self.empty = self._certainty.mark(none)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.empty.label_space.classes

    def start_tally(self, classifier: Classifier) -> Tally:
        """A tally of nothing yet."""
        slides = ", ".join(classifier.facts.get("slides", [])) or "other slides"
        return Tally(
            label_space=self.empty.label_space,
            mpp=self._source.mpp,
            learned_on=slides,
            trust_threshold=UNLIKE_SLIDE,
            features=tuple(self.empty.features),
        )

    def read(self) -> Iterator[Nuclei]:
        """All nuclei in the order of the table, some at a time."""
        at = 0
        for batch in self._source.batches():
            rows = slice(at, at := at + len(batch.ids))
            columns = zip(self._source.extra_names, batch.extra.T, strict=True)
            features = {name: values.astype(np.float32) for name, values in columns}
            features.pop(CLASS_TRUST, None)
            if self._trust is not None:
                features[CLASS_TRUST] = self._trust[rows]
            nuclei = replace(
                batch.nuclei,
                class_probabilities=self._probabilities[rows],
                label_space=self._space,
                features=features,
            )
            yield self._certainty.mark(nuclei)


UNLIKE_SLIDE = 0.05
"""Median trust below which a slide is unlike those that taught."""


def _name_targets(folders: Sequence[Path], out: Path) -> list[Path]:
    """A folder in `out` for each result, by its name; numbered where two have the same.

    Raises:
        ValueError: one of them is the result itself.
    """
    taken: set[str] = set()
    targets = []
    for folder in folders:
        stem = folder.resolve().name
        name, number = stem, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.lower())
        if (out / name).resolve() == folder.resolve():
            raise ValueError(f"--out {out}: {folder} lies there; give another folder")
        targets.append(out / name)
    return targets


def _open(slide: Path, options: PredictOptions) -> Slide:
    """The slide of a result.

    Raises:
        ValueError: it is not there.
    """
    if not slide.exists():
        raise ValueError(
            f"the slide {slide} is not there: it is needed for the pictures of the new result; "
            "bring it back"
        )
    return open_slide(slide, scene=options.scene, icc=options.icc)


def _find_tissue(
    slide: Slide, source: Path, options: PredictOptions
) -> tuple[TissueMask, Regions | None]:
    """The tissue of a slide, or the regions that were asked for."""
    tissue = find_tissue(slide, without_ink=options.ink)
    if options.regions is None:
        return tissue, None
    origin = options.origin_px(slide.bounds_xyxy)
    regions = read_regions(find_regions(options.regions, source), slide.size, origin).on(tissue)
    return regions.tissue, regions


def _measure(result: SlideResult, tally: Tally, folder: ResultFolder) -> SlideResult:
    """The record of a result with the classes of a tally."""
    defocused = [one.box_xyxy for one in result.flagged_regions if one.flag == DEFOCUSED]
    boxes = [Box(*box) for box in (*(one.box_xyxy for one in result.skipped_regions), *defocused)]
    by_region = tally.by_region
    return replace(
        result,
        classes=tally.measure_classes(result.analysed_mm2, result.image_mm2),
        regions=() if by_region is None else by_region.measure(result.mpp_xy, boxes),
        geojson_bytes=None if result.geojson_bytes is None else folder.geojson.stat().st_size,
        **asdict(tally.judge_trust()),
    )


def _copy(folder: Path, target: Path) -> None:
    """Take along what a result holds beside its table: embeddings, and corrections.

    Those that somebody made in the target since it was written the last time stay.
    """
    if (folder / EMBEDDINGS_FILE).is_file():
        with replacing(target / EMBEDDINGS_FILE) as draft:
            shutil.copyfile(folder / EMBEDDINGS_FILE, draft)
    if (folder / CORRECTIONS_FILE).is_file():
        merge_logs([folder], target)
    (target / SUMMARY_FILE).unlink(missing_ok=True)
