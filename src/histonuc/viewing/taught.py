"""Teaching while a slide is looked at: a classifier of what people labelled, shown at once."""

from __future__ import annotations

import logging
import math
import shlex
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections import Corrections
from histonuc.plain_text import readable
from histonuc.teaching.filling import PredictedClasses, fill_up
from histonuc.teaching.labels import choose_taught, list_touched
from histonuc.teaching.quality import FEW
from histonuc.viewing.background import Background
from histonuc.viewing.columns import quantise
from histonuc.viewing.correcting import Corrector
from histonuc.viewing.edits import Prediction
from histonuc.viewing.kernels import FIXED
from histonuc.viewing.table import NucleusTable

if TYPE_CHECKING:
    from histonuc.teaching import Classified, LiveClassifier

log = logging.getLogger(__name__)

_Phase = Literal["off", "opening", "teaching", "shown", "failed"]


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """How far teaching is, and how good it is.

    Attributes:
        phase: what is going on.
        message: why it failed, in one sentence.
        num_labels: nuclei that taught.
        by_class: of each class how many of them.
        filled_up: classes that are taught by nuclei that the model is sure of as well.
        few: classes of too few labels to judge.
        has_embeddings: whether the classifier sees what the network saw, or shape and stain alone.
        num_scored: held-out nuclei whose class a person said.
        num_right: of those, given the same class by the classifier.
        num_right_before: of those, given the same class by the model.
        seconds: teaching took.
    """

    phase: _Phase = "off"
    message: str = ""
    num_labels: int = 0
    by_class: Mapping[str, int] | None = None
    filled_up: tuple[str, ...] = ()
    few: tuple[str, ...] = ()
    has_embeddings: bool = True
    num_scored: int = 0
    num_right: int = 0
    num_right_before: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        share, before = (
            wilson_interval(right, self.num_scored)
            for right in (self.num_right, self.num_right_before)
        )
        return {
            **vars(self),
            "by_class": dict(self.by_class or {}),
            "filled_up": list(self.filled_up),
            "few": list(self.few),
            **{"interval": share, "interval_before": before},
        }


class Teacher:
    """Teaches a classifier of one slide, in a thread of its own.

    Args:
        folder: of the result.
        corrector: knows the labels, and shows what was taught.
        background: runs it; by default one of its own.

    Attributes:
        lesson: how far it is.
    """

    def __init__(
        self, folder: Path, corrector: Corrector, background: Background | None = None
    ) -> None:
        self._folder, self._corrector = folder, corrector
        self._background = background or Background()
        self._live: LiveClassifier | None = None
        self._classified: Classified | None = None
        self._lock = threading.Lock()
        self._is_running = self._again = self._is_wanted = False
        self.lesson = Lesson()

    @property
    def commands(self) -> dict[str, list[str]]:
        """What to type to keep what was taught, and to teach the network itself."""
        result = shlex.quote(readable(str(self._folder)))
        return {
            "keep": [f"histonuc teach {result} --out mine"],
            "network": [
                f"histonuc prepare corrections {result} --out corrected",
                "histonuc fine-tune --data corrected --out tuned --minutes 10",
            ],
        }

    def teach(self) -> None:
        """Teach with the labels that there are now, and show what comes of it; returns at once."""
        with self._lock:
            self._again = self._is_wanted = True
            if self._is_running:
                return
            self._is_running = True
            phase: _Phase = "opening" if self._live is None else "teaching"
            self.lesson = replace(self.lesson, phase=phase, message="")
        self._background.start("histonuc-teach", self._run())

    def hide(self) -> None:
        """Show the model's classes again; what is being taught will not be shown."""
        with self._lock:
            self._again = self._is_wanted = False
            self._corrector.show_prediction(None)
            self.lesson = replace(self.lesson, phase="off")

    def choose(self, labelled: Collection[int], seen: Collection[int], seed: int) -> int | None:
        """A nucleus that is uncertain and unlike those labelled; None where nothing was taught.

        Args:
            labelled: numbers of the nuclei that teach.
            seen: numbers of others that are not to be proposed.
            seed: of what is drawn.
        """
        if self._live is None:
            return None
        found = self._live.propose(labelled, seen, self._classified, num=1, seed=seed)
        return found.teach[0] if found.teach else None

    def _run(self) -> Iterator[object]:
        """Teach as often as somebody asks meanwhile."""
        while True:
            with self._lock:
                if not self._again:
                    self._is_running = False
                    return
                self._again = False
            try:
                yield from self._teach()
            except ImportError:
                self._fail(
                    "Teaching needs scikit-learn, which is not installed: pip install histonuc"
                )
            except ValueError as error:
                text = str(error).replace(str(self._folder), "the result")
                self._fail(f"{text[:1].upper()}{text[1:]}.")
            except Exception:
                log.exception("teaching failed")
                self._fail("This did not work; the terminal says why.")

    def _fail(self, message: str) -> None:
        """Say why nothing was taught, where it is still wanted."""
        with self._lock:
            if self._is_wanted:
                self.lesson = replace(self.lesson, phase="failed", message=message)

    def _teach(self) -> Iterator[object]:
        """Open the features where that was not done, teach, and show: step by step."""
        from histonuc.teaching import LiveClassifier

        if self._live is None:
            self._live = LiveClassifier.open(self._folder)
        yield self._live
        with self._lock:
            if self._is_wanted:
                self.lesson = replace(self.lesson, phase="teaching")
        began = time.perf_counter()
        table, found = self._corrector.table(), self._corrector.corrections
        predicted = self._corrector.predicted
        labels = find_labels(table, found, predicted)
        if not labels:
            raise ValueError("give some nuclei a class first: nothing is labelled yet")
        (filled,) = fill_up([join_classes(labels, found, predicted)])
        classifier = self._live.fit(labels | filled, found.label_space)
        self._classified = classified = self._live.classify(classifier)
        places = [found.label_space.classes.index(name) for name in classifier.label_space.classes]
        kind = np.array(places, np.uint8)[classified.class_index]
        prediction = Prediction(
            kind=kind, probability=quantise(classified.probability, 1 / 255, np.uint8)
        )
        by_class = dict(Counter(labels.values()).most_common())
        lesson = replace(
            _score(kind, predicted.kind, found),
            phase="shown",
            num_labels=len(labels),
            by_class=by_class,
            filled_up=tuple(dict.fromkeys(filled.values())),
            few=tuple(name for name, num in by_class.items() if num < FEW),
            has_embeddings=self._live.has_embeddings,
            seconds=time.perf_counter() - began,
        )
        with self._lock:
            if self._is_wanted:  # else it was hidden meanwhile
                self._corrector.show_prediction(prediction)
                self.lesson = lesson


def find_labels(
    table: NucleusTable, corrections: Corrections, predicted: Prediction
) -> dict[int, str]:
    """The class of each nucleus of the table that teaches, by its number: see `choose_taught`.

    Args:
        table: the nuclei as corrected.
        corrections: what was done.
        predicted: classes of the model, which are right in complete fields where nobody gave one.
    """
    import shapely

    classes, index = table.label_space.classes, table.index()
    in_fields: dict[int, str] = {}
    for field in corrections.fields:
        if not field.complete:
            continue
        x0, y0, x1, y1 = (
            int(v) for v in (*(field.ring.min(0) * FIXED), *(field.ring.max(0) * FIXED + 1))
        )
        box = (x0, y0, x1, y1)
        area = shapely.Polygon(field.ring)
        for group in index.groups_in(box).tolist():
            rows = index.rows_in(group, box)
            inside = shapely.contains_xy(area, index.x[rows] / FIXED, index.y[rows] / FIXED)
            for row in rows[inside & (rows < table.num_nuclei)].tolist():
                in_fields[row + 1] = classes[predicted.kind[row]]
    return choose_taught(corrections, in_fields)


def join_classes(
    labels: Mapping[int, str], corrections: Corrections, predicted: Prediction
) -> PredictedClasses:
    """What the model and people say of the nuclei, to fill up what teaches.

    Args:
        labels: class by number of the nuclei that teach.
        corrections: what was done.
        predicted: classes of the model.
    """
    return PredictedClasses(
        classes=corrections.label_space.classes[: corrections.num_classes],
        kind=predicted.kind,
        probability=predicted.probability,
        labels=labels,
        touched=list_touched(corrections),
    )


def wilson_interval(right: int, num: int) -> tuple[float, float] | None:
    """Between which shares the true one lies with 95 % confidence; None of nothing.

    >>> [round(end, 2) for end in wilson_interval(8, 10)]
    [0.49, 0.94]
    """
    if num == 0:
        return None
    z, share = 1.96, right / num
    middle = (share + z * z / (2 * num)) / (1 + z * z / num)
    reach = z / (1 + z * z / num) * math.sqrt(share * (1 - share) / num + z * z / (4 * num * num))
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def _score(
    taught: NDArray[np.uint8], before: NDArray[np.uint8], corrections: Corrections
) -> Lesson:
    """How many held-out nuclei, whose class a person said, have this class."""
    classes = corrections.label_space.classes
    said = {
        number - 1: classes.index(name)
        for number, name in corrections.classes.items()
        if number in corrections.held_out and number <= len(taught)
    }
    return Lesson(
        num_scored=len(said),
        num_right=sum(int(taught[row]) == kind for row, kind in said.items()),
        num_right_before=sum(int(before[row]) == kind for row, kind in said.items()),
    )
