"""Tables and findings of prepared official folds, compared with PanNuke's published counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from histonuc.data.checks import FoldTally
from histonuc.data.preparation import PrepareReport, Table
from histonuc.taxonomy import PANNUKE, TISSUES, LabelSpace, canonical_tissue, translate


@dataclass(frozen=True, kw_only=True)
class OfficialCounts:
    """Published counts of one fold; classes in the order of `PANNUKE`."""

    images: int
    empty: int
    nuclei: tuple[int, ...]
    images_with: tuple[int, ...]


OFFICIAL_COUNTS = {
    1: OfficialCounts(
        images=2656,
        empty=116,
        nuclei=(26201, 10820, 16388, 967, 8842),
        images_with=(1452, 1386, 2044, 65, 498),
    ),
    2: OfficialCounts(
        images=2523,
        empty=113,
        nuclei=(22731, 10631, 16756, 884, 8870),
        images_with=(1280, 1335, 1985, 70, 524),
    ),
    3: OfficialCounts(
        images=2722,
        empty=114,
        nuclei=(28471, 10825, 17441, 1057, 8860),
        images_with=(1459, 1411, 2111, 97, 506),
    ),
}
"""Counts of the three official folds, as CellViT publishes them (configs/datasets/PanNuke)."""

OFFICIAL_TISSUE_IMAGES = {
    **{"Breast": 2351, "Colon": 1440, "Adrenal_gland": 437, "Esophagus": 424, "Bile-duct": 420},
    **{"HeadNeck": 384, "Cervix": 293, "Thyroid": 226, "Liver": 224, "Testis": 196},
    **{"Pancreatic": 195, "Skin": 187, "Uterus": 186, "Lung": 184, "Prostate": 182},
    **{"Bladder": 146, "Ovarian": 146, "Stomach": 146, "Kidney": 134},
}
"""Images of each tissue in the three official folds together."""


def summarise(
    out: str, tallies: Sequence[FoldTally], first_findings: Sequence[str], space: LabelSpace
) -> PrepareReport:
    """Tables, comparison and findings of all folds.

    Args:
        out: the store.
        tallies: counts of the folds.
        first_findings: what is to be said before what the counts say.
        space: label space of the store.
    """
    columns = [f"fold {tally.number}" for tally in tallies]
    by_class = [
        (name, [int(tally.nuclei[j]) for tally in tallies])
        for j, name in enumerate(PANNUKE.classes)
    ]
    by_class.append(("all", [int(tally.nuclei.sum()) for tally in tallies]))
    known = [name for name in TISSUES if any(tally.tissues[name] for tally in tallies)]
    others = sorted({name for tally in tallies for name in tally.tissues} - set(TISSUES))
    by_tissue = [(name, [tally.tissues[name] for tally in tallies]) for name in known + others]
    by_tissue.append(("all", [tally.images for tally in tallies]))
    checks = [(name, [tally.facts[name] for tally in tallies]) for name in tallies[0].facts]
    tables = [("nuclei", by_class), ("images", by_tissue), ("checks", checks)]
    return PrepareReport(
        out=out,
        tables=[_with_sum(title, columns, rows) for title, rows in tables],
        official=compare_with_official(tallies),
        findings=[*first_findings, *_findings(tallies, others, space)],
    )


def _with_sum(title: str, columns: list[str], rows: list[tuple[str, list[int]]]) -> Table:
    if len(columns) == 1:
        return Table(title=title, columns=columns, rows=rows)
    return Table(
        title=title,
        columns=[*columns, "all"],
        rows=[(name, [*values, sum(values)]) for name, values in rows],
    )


def compare_with_official(tallies: Sequence[FoldTally]) -> list[str]:
    """Lines that say where the folds have the official sizes, and whether the counts agree."""
    same_size = [
        tally
        for tally in tallies
        if tally.number in OFFICIAL_COUNTS and OFFICIAL_COUNTS[tally.number].images == tally.images
    ]
    if not same_size:
        sizes = ", ".join(f"{counts.images:,}" for counts in OFFICIAL_COUNTS.values())
        return [f"not compared with the official counts: the folds are not of its sizes ({sizes})"]
    lines = []
    for tally in same_size:
        differences = _differences(tally, OFFICIAL_COUNTS[tally.number])
        lines.append(
            f"fold {tally.number} differs from the official counts: {'; '.join(differences)}"
            if differences
            else f"fold {tally.number} agrees with the official counts"
        )
    if len(same_size) == len(OFFICIAL_COUNTS):
        lines.append(_compare_tissues(same_size))
    return lines


def _differences(tally: FoldTally, official: OfficialCounts) -> list[str]:
    pairs = [("empty images", tally.facts["empty images"], official.empty)]
    for j, name in enumerate(PANNUKE.classes):
        # The publisher may have counted after flattening: nuclei hidden wholly are then not in.
        if official.nuclei[j] != tally.visible[j]:
            pairs.append((f"{name} nuclei", int(tally.nuclei[j]), official.nuclei[j]))
        pairs.append((f"images with {name}", int(tally.images_with[j]), official.images_with[j]))
    return [
        f"{name} {found:,} (official {known:,})" for name, found, known in pairs if found != known
    ]


def _compare_tissues(tallies: Sequence[FoldTally]) -> str:
    total: Counter[str] = Counter()
    for tally in tallies:
        total.update(tally.tissues)
    names = sorted(set(total) | set(OFFICIAL_TISSUE_IMAGES))
    differences = [
        f"{name} {total[name]:,} (official {OFFICIAL_TISSUE_IMAGES.get(name, 0):,})"
        for name in names
        if total[name] != OFFICIAL_TISSUE_IMAGES.get(name, 0)
    ]
    if not differences:
        return "images of each tissue agree with the official counts"
    return f"images of each tissue differ from the official counts: {'; '.join(differences)}"


def _findings(
    tallies: Sequence[FoldTally], unknown_tissues: Sequence[str], space: LabelSpace
) -> list[str]:
    findings = []
    lost = [name for name in PANNUKE.classes if translate([name], space) == space.any_class]
    if lost and len(space) > 1:
        findings.append(
            f"{', '.join(lost)}: no class of the label space {space.name!r}; such nuclei may be any"
        )
    for tally in tallies:
        findings += [text for text in tally.stain.judge(f"fold {tally.number}") if text]
        inverted = tally.facts["images with channel 5 inverted"]
        if inverted:
            findings.append(
                f"fold {tally.number}: channel 5 is 1 on nuclei instead of on background in "
                f"{inverted:,} of {tally.images:,} images; nuclei are read from channels 0 to 4, "
                "nothing is lost"
            )
        if tally.ids_look_lost:
            findings.append(
                f"fold {tally.number}: no id is above 1, though nuclei come in several parts: "
                "these look like class masks whose instance ids were lost"
            )
    spelled = {
        name: canonical_tissue(name)
        for tally in tallies
        for name in sorted(tally.spellings)
        if name != canonical_tissue(name)
    }
    if spelled:
        pairs = ", ".join(f"{name!r} as {official!r}" for name, official in spelled.items())
        findings.append(f"tissues read: {pairs}")
    if unknown_tissues:
        findings.append(
            f"tissues that are none of PanNuke's nineteen, kept: {', '.join(unknown_tissues)}"
        )
    return findings
