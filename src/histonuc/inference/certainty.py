"""How far classes can be trusted: class "Uncertain" of a nucleus, and a sentence about a result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from histonuc.exports.summary import TrustResult
from histonuc.nuclei import CLASS_TRUST, Nuclei
from histonuc.taxonomy import UNCERTAIN, LabelSpace

if TYPE_CHECKING:
    from histonuc.inference.options import PredictOptions
    from histonuc.models.model import Model

UNCERTAIN_COLOUR = (150, 150, 150)
_BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


@dataclass(frozen=True, kw_only=True)
class Certainty:
    """What a nucleus needs to have the class that its model gives it; else it is "Uncertain".

    Attributes:
        min_class_probability: least probability of its most probable class; 0 asks for nothing.
        min_class_trust: least `CLASS_TRUST`; 0 asks for nothing.
    """

    min_class_probability: float = 0.0
    min_class_trust: float = 0.0

    @property
    def _asks(self) -> bool:
        return self.min_class_probability > 0 or self.min_class_trust > 0

    def widen(self, space: LabelSpace) -> LabelSpace:
        """The model's classes, and "Uncertain" as the last one where anything is asked for."""
        if not self._asks:
            return space
        return replace(
            space,
            classes=(*space.classes, UNCERTAIN),
            colours=(*space.colours, UNCERTAIN_COLOUR),
            meanings=(*space.meanings, ()) if space.meanings else (),
        )

    def mark(self, nuclei: Nuclei) -> Nuclei:
        """The nuclei with the classes of `widen`.

        The probability of "Uncertain" is 1 or 0: it is no probability but tells which they are.
        Those of the model's classes stay, and add up to 1 without it.
        """
        if not self._asks:
            return nuclei
        given = nuclei.class_probabilities
        uncertain = given.max(1, initial=0) < self.min_class_probability
        if self.min_class_trust > 0:
            uncertain |= nuclei.features[CLASS_TRUST] < self.min_class_trust
        # A class of probability 1 would have as much.
        given = np.where(uncertain[:, None], np.minimum(given, _BELOW_ONE), given)
        return replace(
            nuclei,
            class_probabilities=np.column_stack([given, uncertain.astype(np.float32)]),
            label_space=self.widen(nuclei.label_space),
        )


CERTAIN = Certainty()
"""Nothing is asked for."""


def choose_certainty(options: PredictOptions, model: Model) -> Certainty:
    """What the options ask for, and where they do not say, the model.

    Raises:
        ValueError: trust is asked for, and the model tells none.
    """
    asked = options.min_class_probability, options.min_class_trust
    usual = model.spec.min_class_probability, model.spec.min_class_trust
    probability, trust = (usual[i] if value is None else value for i, value in enumerate(asked))
    if trust > 0 and model.trust is None:
        raise ValueError(
            f"--min-class-trust {trust:g}: this model does not tell how far its classes can be "
            "trusted: leave the option out, or use another model"
        )
    return Certainty(min_class_probability=probability, min_class_trust=trust)


def judge_trust(
    trust: Sequence[NDArray[np.float32]], learned_on: str, threshold: float
) -> TrustResult:
    """How far the classes of a result can be trusted as a whole.

    Args:
        trust: `CLASS_TRUST` of all nuclei, in pieces.
        learned_on: what the classes were learned on; empty where that is not known.
        threshold: nuclei below it look unlike those learned from; where most do, the classes are
            extrapolated.
    """
    values = np.concatenate([np.zeros(0, np.float32), *trust])
    if not len(values):
        return TrustResult()
    median, unlike = float(np.median(values)), float((values < threshold).mean())
    learned = f"classes were learned on {learned_on or 'the training images of this model'}"
    note = f"{learned}; {100 * unlike:.0f} % of these nuclei look unlike those"
    if median < threshold:
        note += ": treat the classes as a guess, the outlines are not affected"
    return TrustResult(
        classes_extrapolated=median < threshold,
        median_class_trust=median,
        share_unlike=unlike,
        class_note=note,
    )
