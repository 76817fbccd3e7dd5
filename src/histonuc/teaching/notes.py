"""What the user should know of the labels that taught."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from histonuc.plain_text import counted
from histonuc.teaching.filling import FILLED_UP
from histonuc.teaching.fitting import MIN_LABELS
from histonuc.teaching.gathering import Labelled
from histonuc.teaching.labels import ResultLabels
from histonuc.teaching.quality import FEW


def list_notes(corrected: Mapping[Path, ResultLabels], labelled: Labelled) -> list[str]:
    """What the user should know of the labels."""
    notes = []
    made = sum(found.num_without_features for found in corrected.values())
    if made:
        notes.append(
            f"left out, as drawn by hand and not found by the network: "
            f"{counted(made, 'labelled nucleus')}"
        )
    names = {name for found in corrected.values() for name in found.taught.values()}
    few = sorted(names - set(labelled.label_space.classes))
    if few:
        notes.append(f"left out for want of labels ({MIN_LABELS} at least): {', '.join(few)}")
    if labelled.by == "square":
        notes.append(
            "labels of one or two slides: the figures say how good it is on these slides, not on "
            "others"
        )
    return notes


def judge_numbers(given: Mapping[str, int], filled: Mapping[str, int]) -> list[str]:
    """Notes on classes of few labels, and on those that the model's nuclei fill up.

    Args:
        given: labels of people by class.
        filled: nuclei of the model by class.
    """
    notes = [
        f"class {name} has only {counted(num, 'label')}: too few to judge"
        for name, num in given.items()
        if num < FEW
    ]
    if filled:
        told = ", ".join(f"{name} {num}" for name, num in filled.items())
        notes.append(
            f"{counted(sum(filled.values()), 'nucleus')} that the model is sure of make up the "
            f"number in its classes of fewer than {FILLED_UP} labels ({told}): they are the "
            "model's word, and no figure is about them; --labels-only leaves them away"
        )
    return notes
