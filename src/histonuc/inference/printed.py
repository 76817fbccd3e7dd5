"""What `histonuc predict` and `histonuc summarise` print of results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from histonuc.exports.summary import SlideResult
from histonuc.inference.corrected import CorrectedResult
from histonuc.plain_text import counted
from histonuc.taxonomy import UNCERTAIN

_ROW = "{:<32}{:>11}{:>9}{:>9}{:>9}{:>8}  {}"


def list_results(corrected: Sequence[CorrectedResult], skipped: Sequence[str]) -> list[str]:
    """A table of several inputs, and what there is to say of them.

    Args:
        corrected: their results with their corrections.
        skipped: inputs that an earlier run had finished.
    """
    items = [one.result for one in corrected]
    lines = [_ROW.format("input", "nuclei", "mm²", "per mm²", "seconds", "mm²/s", "")]
    lines += [_row(item, skipped) for item in items]
    return [*lines, *_note_lines(items), *_told(corrected)]


def _row(item: SlideResult, skipped: Sequence[str]) -> str:
    """One line about an input; its figures are those of `result_lines`."""
    area, seconds, density = item.analysed_mm2, item.seconds["total"], item.density_per_mm2
    notes = [counted(len(item.warnings), "note")] if item.warnings else []
    return _ROW.format(
        Path(item.source).name,
        f"{item.num_nuclei:,}",
        f"{area:.3g}",
        "" if density is None else f"{density:,.0f}",
        f"{seconds:.1f}",
        f"{area / seconds:.2f}" if seconds else "",
        ", ".join((["finished before"] if item.source in skipped else []) + notes),
    ).rstrip()


def _note_lines(items: Sequence[SlideResult]) -> list[str]:
    """The notes on several inputs, each in one line that says what it is about.

    A note on one input names it; the same note on several is told once, with their number.
    """
    names: dict[str, list[str]] = {}
    for item in items:
        for note in (*item.warnings, *([item.class_note] if item.class_note else [])):
            names.setdefault(note, []).append(Path(item.source).name)
    return [
        f"  note on {noted[0] if len(noted) == 1 else counted(len(noted), 'input')}: {warning}"
        for warning, noted in names.items()
    ]


def _told(corrected: Sequence[CorrectedResult]) -> list[str]:
    """What people corrected; the name of the input where there are several."""
    several = len(corrected) > 1
    return [
        f"  {Path(one.result.source).name}: {line}" if several else f"  {line}"
        for one in corrected
        for line in one.lines
    ]


def result_lines(corrected: CorrectedResult, skipped: Sequence[str]) -> list[str]:
    """All about one input.

    Args:
        corrected: its result with its corrections.
        skipped: inputs that an earlier run had finished.
    """
    item, by_hand = corrected.result, corrected.count_by_hand()
    done = " (finished before)" if item.source in skipped else ""
    density = item.density_per_mm2
    lines = [
        f"{item.source}{done}: {counted(item.num_nuclei, 'nucleus')} in {item.analysed_mm2:.3g} "
        f"mm² of tissue{'' if density is None else f', {density:,.0f} per mm²'}, "
        f"in {item.seconds['total']:.1f} s -> {item.folder}"
    ]
    for name, row in item.classes.items():
        if row.num_nuclei:
            per_mm2 = "" if density is None else f"{row.density_per_mm2:>10,.0f} per mm²"
            is_guess = name != UNCERTAIN and row.num_nuclei > by_hand.get(name, 0)
            guess = "  a guess" if item.classes_extrapolated and is_guess else ""
            lines.append(f"  {name:<26}{row.num_nuclei:>9,}{row.share:>8.1%}{per_mm2}{guess}")
    lines += [f"  note: {warning}" for warning in item.warnings]
    lines += [f"  {item.class_note}"] if item.class_note else []
    return [*lines, *_told([corrected])]
