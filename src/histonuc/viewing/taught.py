"""Teaching while a slide is looked at: a classifier of what people labelled, shown at once."""

from __future__ import annotations

import logging
import math
import shlex
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.corrections import Corrections
from histonuc.plain_text import readable
from histonuc.taxonomy import UNCERTAIN
from histonuc.teaching.labels import choose_taught
from histonuc.viewing.columns import quantise
from histonuc.viewing.correcting import Corrector
from histonuc.viewing.edits import Prediction
from histonuc.viewing.index import DELETED
from histonuc.viewing.kernels import FIXED
from histonuc.viewing.table import NucleusTable

if TYPE_CHECKING:
    from histonuc.teaching import Classified, LiveClassifier

log = logging.getLogger(__name__)

FILLED_UP = 50
"""Until so many nuclei of a class of the table are labelled, those that the model is sure of make
up the number."""
_SURE = 0.8
_DRAWN = 200_000
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
            **{"interval": share, "interval_before": before},
        }


class Teacher:
    """Teaches a classifier of one slide, in a thread of its own.

    Args:
        folder: of the result.
        corrector: knows the labels, and shows what was taught.

    Attributes:
        lesson: how far it is.
    """

    def __init__(self, folder: Path, corrector: Corrector) -> None:
        self._folder, self._corrector = folder, corrector
        self._live: LiveClassifier | None = None
        self._classified: Classified | None = None
        self._lock = threading.Lock()
        self._is_running = self._again = False
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
            self._again = True
            if self._is_running:
                return
            self._is_running = True
            phase: _Phase = "opening" if self._live is None else "teaching"
            self.lesson = replace(self.lesson, phase=phase, message="")
        threading.Thread(target=self._run, name="histonuc-teach", daemon=True).start()

    def hide(self) -> None:
        """Show the model's classes again."""
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

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._again:
                    self._is_running = False
                    return
                self._again = False
            try:
                self._teach()
            except ImportError:
                text = "Teaching needs scikit-learn, which is not installed: pip install histonuc"
                self.lesson = replace(self.lesson, phase="failed", message=text)
            except ValueError as error:
                text = str(error).replace(str(self._folder), "the result")
                self.lesson = replace(
                    self.lesson, phase="failed", message=f"{text[:1].upper()}{text[1:]}."
                )
            except Exception:
                log.exception("teaching failed")
                text = "This did not work; the terminal says why."
                self.lesson = replace(self.lesson, phase="failed", message=text)

    def _teach(self) -> None:
        from histonuc.teaching import LiveClassifier

        if self._live is None:
            self._live = LiveClassifier.open(self._folder)
        self.lesson = replace(self.lesson, phase="teaching")
        began = time.perf_counter()
        table, found = self._corrector.table(), self._corrector.corrections
        predicted = self._corrector.predicted
        labels = find_labels(table, found, predicted)
        if not labels:
            raise ValueError("give some nuclei a class first: nothing is labelled yet")
        filled, names = fill_up(table, labels, predicted)
        classifier = self._live.fit(labels | filled, found.label_space)
        self._classified = classified = self._live.classify(classifier)
        places = [found.label_space.classes.index(name) for name in classifier.label_space.classes]
        kind = np.array(places, np.uint8)[classified.class_index]
        prediction = Prediction(
            kind=kind, probability=quantise(classified.probability, 1 / 255, np.uint8)
        )
        self._corrector.show_prediction(prediction)
        self.lesson = replace(
            _score(kind, predicted.kind, found),
            phase="shown",
            num_labels=len(labels),
            by_class=dict(Counter(labels.values()).most_common()),
            filled_up=names,
            has_embeddings=self._live.has_embeddings,
            seconds=time.perf_counter() - began,
        )


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


def fill_up(
    table: NucleusTable, labels: Mapping[int, str], predicted: Prediction
) -> tuple[dict[int, str], tuple[str, ...]]:
    """Labels of nuclei that the model is sure of, for classes of which few or none are labelled.

    Without them a classifier would never give a class that nobody labelled, and know one that was
    labelled only where the model was wrong.

    Args:
        table: the nuclei as corrected.
        labels: that people gave.
        predicted: classes of the model.

    Returns:
        The class by number of a nucleus, and the classes that were filled up.
    """
    rows = np.random.default_rng(0).permutation(table.num_nuclei)[:_DRAWN]
    free = (table.marks(rows) == 0) & (table.index().kind[rows] != DELETED)
    rows = rows[free & (predicted.probability[rows] >= _SURE * 255)]
    filled: dict[int, str] = {}
    given = Counter(labels.values())
    for number, name in enumerate(table.label_space.classes):
        wanted = 0 if name == UNCERTAIN else max(FILLED_UP - given[name], 0)
        found = rows[predicted.kind[rows] == number][:wanted]
        filled |= {int(row) + 1: name for row in found}
    return filled, tuple(dict.fromkeys(filled.values()))


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
