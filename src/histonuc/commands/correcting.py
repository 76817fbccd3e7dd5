"""Commands about what people corrected."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from histonuc.commands.outcome import Outcome
from histonuc.plain_text import counted


def show_corrections(out: Path) -> Outcome:
    """List what people corrected in a result: who, what, where they disagree, what is not found.

    Args:
        out: Folder that `histonuc predict` wrote, of one input or of many.
    """
    from histonuc.corrections import CORRECTIONS_FILE, describing, read_corrections
    from histonuc.exports import TABLE_FILE

    if (out / TABLE_FILE).is_file():
        found = read_corrections(out)
        if found is None:
            return Outcome(lines=[f"no corrections in {out}"], data={"num_corrected": 0})
        return Outcome(lines=describing.describe_lines(found), data=describing.to_record(found))
    if not any(out.glob(f"*/{TABLE_FILE}")):
        raise ValueError(f"no prediction in {out}: expected {TABLE_FILE} there or one folder below")
    outcomes = {
        log.parent.name: show_corrections(log.parent)
        for log in sorted(out.glob(f"*/{CORRECTIONS_FILE}"))
        if (log.parent / TABLE_FILE).is_file()
    }
    lines = [line for name, one in outcomes.items() for line in ("", name, *one.lines)][1:]
    data = {name: one.data for name, one in outcomes.items()}
    return Outcome(lines=lines or [f"no corrections in {out}"], data={"results": data})


def merge_corrections(corrections: tuple[Path, ...], *, out: Path) -> Outcome:
    """Put the corrections of several people on one result into one file.

    Where they disagree on a nucleus it stays as predicted until somebody chooses.

    Args:
        corrections: Files corrections.jsonl, or folders of results that hold one.
        out: File to write, or folder of the result; lines that are there already stay.
    """
    from histonuc.corrections import describing, merging

    if not corrections:
        raise ValueError("expected corrections to merge: files or folders of results")
    merged = merging.merge_logs(corrections, out)
    lines = [
        f"{merged.path} holds {counted(merged.num_operations, 'operation')}, {merged.num_new:,} new"
    ]
    for conflict in merged.conflicts:
        lines += describing.describe_conflict(conflict)
    if merged.conflicts:
        lines.append("next: histonuc corrections choose OUT KEY, or --prefer NAME")
    lines += describing.describe_renumbered(merged.renumbered)
    return Outcome(
        lines=[*lines, *(f"note       {note}" for note in merged.notes)],
        data={
            "out": str(merged.path),
            "num_operations": merged.num_operations,
            "num_new": merged.num_new,
            "conflicts": [describing.conflict_record(one) for one in merged.conflicts],
            "notes": list(merged.notes),
            "renumbered": [{**asdict(one), "path": str(one.path)} for one in merged.renumbered],
        },
    )


def choose_corrections(
    out: Path,
    keys: tuple[str, ...] = (),
    *,
    prefer: str = "",
    nuclei: tuple[int, ...] = (),
    by: str = "",
) -> Outcome:
    """Choose which operation counts where the corrections of several people disagree.

    Args:
        out: Folder of one result of `histonuc predict`.
        keys: Keys of the operations that count, or their beginnings, as `corrections show` has
            them.
        prefer: Name of a person whose operations count.
        nuclei: Numbers of the nuclei that this is about; all in conflict when not given.
        by: Your name; that of your login when not given.
    """
    from histonuc.corrections import CorrectionLog, merging, read_corrections, user_name

    if bool(keys) == bool(prefer):
        raise ValueError("expected either the key of an operation or --prefer NAME")
    found = read_corrections(out)
    if found is None:
        raise ValueError(f"no corrections in {out}")
    chosen = merging.choose_operations(
        found.corrections, keys=keys, prefer=prefer, nuclei=nuclei, by=by or user_name()
    )
    CorrectionLog(out).append(*chosen)
    left = len(found.corrections.conflicts) - len(chosen)
    lines = [f"chosen for {counted(len(chosen), 'nucleus')}; {left:,} in conflict are left"]
    return Outcome(lines=lines, data={"num_chosen": len(chosen), "num_left": left})
