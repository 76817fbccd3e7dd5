"""Two people's corrections of one result become one, and a person chooses where they disagree."""

import json
import shutil
from dataclasses import replace

import pytest

from histonuc import cli
from histonuc.corrections import CorrectionLog, read_corrections
from histonuc.corrections.merging import find_conflicts, merge_operations

from .drawn import maker, square, write_row


@pytest.fixture
def folders(tmp_path):
    """The result with what both knew, and a copy of it."""
    ann = write_row(tmp_path / "ann")
    CorrectionLog(ann).append(maker(ann)("classify", 6, **{"class": "Mitosis"}))
    bob = shutil.copytree(ann, tmp_path / "bob")
    return ann, bob


def correct(folder, by, *calls):
    make = maker(folder, by)
    return CorrectionLog(folder).append(
        *(make(do, *numbers, **fields) for do, numbers, fields in calls)
    )


def test_merge_lists_conflicts_and_a_person_chooses(folders, tmp_path, capsys):
    ann, bob = folders
    (first,) = correct(ann, "ann", ("classify", (1, 2), {"class": "Mitosis"}))
    correct(bob, "bob", ("classify", (2, 3), {"class": "Plasma cell"}), ("delete", (4,), {}))
    merged = tmp_path / "c.jsonl"
    line = ["corrections", "merge", str(ann), str(bob / "corrections.jsonl"), "--out", str(merged)]
    assert cli.run(line) == 0
    told = capsys.readouterr().out
    assert "nucleus 2 at 35, 15" in told
    assert "class Mitosis" in told
    assert "class Plasma cell" in told
    shutil.copy(merged, ann / "corrections.jsonl")
    found = read_corrections(ann).corrections
    assert dict(found.classes) == {1: "Mitosis", 3: "Plasma cell", 6: "Mitosis"}
    assert found.deleted == {4}
    assert [one.id for one in found.conflicts] == [2]
    assert dict(found.people) == {"ann": 2, "bob": 2}
    assert cli.run(["export", str(ann), "--to", "csv"]) == 0
    assert "1 nucleus on which corrections disagree" in capsys.readouterr().out
    assert cli.run(["corrections", "choose", str(ann), first.key[:6], "--by", "eve"]) == 0
    found = read_corrections(ann).corrections
    assert found.classes[2] == "Mitosis"
    assert found.conflicts == ()
    assert cli.run(["corrections", "show", str(ann)]) == 0
    assert "5 corrected by ann (3), bob (2)" in capsys.readouterr().out
    assert cli.run(["corrections", "choose", str(ann), first.key]) == 2


def test_merging_into_a_result_in_either_order_is_the_same(folders, tmp_path):
    ann, bob = folders
    correct(ann, "ann", ("redraw", (1,), {"ring": square(10, 10, 8)}), ("delete", (2,), {}))
    correct(bob, "bob", ("classify", (1,), {"class": "Mitosis"}), ("delete", (2,), {}))
    one, other = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    assert cli.run(["corrections", "merge", str(ann), str(bob), "--out", str(one)]) == 0
    assert cli.run(["corrections", "merge", str(bob), str(ann), "--out", str(other)]) == 0
    assert one.read_text() == other.read_text()
    assert cli.run(["corrections", "merge", str(one), "--out", str(ann)]) == 0
    assert cli.run(["corrections", "merge", str(bob), "--out", str(ann)]) == 0
    found = read_corrections(ann).corrections
    assert found.conflicts == ()
    assert list(found.rings) == [1]  # an outline and a class go together
    assert found.classes[1] == "Mitosis"
    assert found.deleted == {2}


def test_what_is_done_after_the_merge_ends_the_conflict(folders):
    ann, bob = folders
    correct(ann, "ann", ("delete", (1,), {}))
    correct(bob, "bob", ("classify", (1,), {"class": "Mitosis"}))
    assert cli.run(["corrections", "merge", str(bob), "--out", str(ann)]) == 0
    assert len(read_corrections(ann).corrections.conflicts) == 1
    correct(ann, "ann", ("classify", (1,), {"class": "Plasma cell"}))
    found = read_corrections(ann).corrections
    assert found.conflicts == ()
    assert found.classes[1] == "Plasma cell"
    assert found.deleted == frozenset()


@pytest.mark.parametrize("choice", ["ann", "bob"])
def test_joins_of_one_nucleus_with_two(folders, choice):
    ann, bob = folders
    correct(ann, "ann", ("join", (1, 2), {"ring": square(10, 10, 30)}))
    correct(bob, "bob", ("join", (2, 3), {"ring": square(30, 10, 30)}))
    assert cli.run(["corrections", "merge", str(bob), "--out", str(ann)]) == 0
    found = read_corrections(ann).corrections
    assert [one.id for one in found.conflicts] == [2]
    assert found.deleted == frozenset()
    assert found.made == ()
    assert cli.run(["corrections", "choose", str(ann), "--prefer", choice]) == 0
    found = read_corrections(ann).corrections
    assert found.deleted == ({1, 2} if choice == "ann" else {2, 3})
    assert len(found.made) == 1


def test_lines_that_differ_are_refused(folders, tmp_path, capsys):
    ann, bob = folders
    record = json.loads((bob / "corrections.jsonl").read_text())
    del record["crc"]
    record["class"] = "Other"
    (bob / "corrections.jsonl").write_text(json.dumps(record) + "\n")
    line = ["corrections", "merge", str(ann), str(bob), "--out", str(tmp_path / "c.jsonl")]
    assert cli.run(line) == 2
    assert "different lines of the key" in capsys.readouterr().err
    assert not (tmp_path / "c.jsonl").exists()


def test_show_of_many_results_and_of_none(folders, tmp_path, capsys):
    _, bob = folders
    assert cli.run(["corrections", "show", str(tmp_path)]) == 0
    told = capsys.readouterr().out.split("\n")
    assert "ann" in told
    assert "bob" in told
    (bob / "corrections.jsonl").unlink()
    assert cli.run(["corrections", "show", str(bob)]) == 0
    assert "no corrections in" in capsys.readouterr().out
    assert cli.run(["corrections", "show", str(tmp_path / "nowhere")]) == 2
    assert "no prediction in" in capsys.readouterr().err


def test_a_damaged_copy_of_a_log_makes_no_conflict_in_either_order(folders, tmp_path):
    ann, _ = folders
    correct(ann, "ann", ("classify", (1,), {"class": "Mitosis"}), ("delete", (1,), {}))
    lines = (ann / "corrections.jsonl").read_text().splitlines(keepends=True)
    damaged = tmp_path / "damaged.jsonl"
    damaged.write_text(lines[0] + lines[1].replace("Mitosis", "Mitosys") + lines[2])
    logs = [CorrectionLog(damaged).read().operations, CorrectionLog(ann).read().operations]
    assert [len(one) for one in logs] == [2, 3]
    for parts in (logs, logs[::-1]):
        assert [one.to_line() for one in merge_operations(parts).operations] == lines


def test_more_classes_than_a_table_holds_are_refused_before_anything_is_written(
    folders, tmp_path, capsys
):
    ann, bob = folders
    for folder in folders:
        names = [f"{folder.name} {number}" for number in range(16)]
        define = {"colour": "#ff0000", "digit": None}
        correct(folder, folder.name, *(("define_class", (), {"name": n, **define}) for n in names))
    before = (ann / "corrections.jsonl").read_bytes()
    assert cli.run(["corrections", "merge", str(bob), "--out", str(ann)]) == 2
    assert "a table holds 31" in capsys.readouterr().err
    assert (ann / "corrections.jsonl").read_bytes() == before


def test_many_disagreements_on_one_nucleus_are_settled_at_once(folders):
    make, operations = maker(folders[0]), ()
    for number in range(40):  # each took three times as long as the one before
        sides = [
            replace(
                make("classify", 1, **{"class": name}),
                key=f"{name}{number}",
                after=operations[-1].key if operations else "",
                time=f"2026-{number:04d}",
            )
            for name in ("Mitosis", "Other")
        ]
        operations = merge_operations([(*operations, side) for side in sides]).operations
    (conflict,) = find_conflicts(operations)
    assert [one.key for one in conflict.operations] == ["Mitosis39", "Other39"]


def test_a_nucleus_that_was_corrected_a_thousand_times(folders):
    ann, bob = folders
    correct(bob, "bob", ("delete", (3,), {}))  # so that the history is not one line
    correct(ann, "ann", *(("classify", (1,), {"class": f"C{n % 9}"}) for n in range(1000)))
    logs = [CorrectionLog(folder).read().operations for folder in folders]
    assert find_conflicts(merge_operations(logs).operations) == ()


def test_nuclei_made_by_hand_that_get_other_numbers_are_listed(folders, tmp_path, capsys):
    ann, bob = folders
    (first,) = correct(ann, "ann", ("add", (), {"ring": square(200, 10), "class": "Connective"}))
    (second,) = correct(bob, "bob", ("add", (), {"ring": square(230, 10), "class": "Connective"}))
    line = ["corrections", "merge", str(ann), str(bob), "--out", str(tmp_path / "c.jsonl")]
    assert cli.run([*line[:-1], str(tmp_path / "d.jsonl")]) == 0
    assert "nucleus N + 1 is N + 2 now" in capsys.readouterr().out
    assert cli.run([*line, "--json"]) == 0
    (moved,) = json.loads(capsys.readouterr().out)["renumbered"]
    assert (moved["before"], moved["after"]) == (1, 2)
    owner, key = {str(ann): (ann, first.key), str(bob): (bob, second.key)}[
        moved["path"].removesuffix("/corrections.jsonl")
    ]
    assert moved["reference"] == f"{key}:0"
    assert read_corrections(owner).corrections.references[7] == f"{key}:0"
    shutil.copy(tmp_path / "c.jsonl", ann / "corrections.jsonl")
    assert read_corrections(ann).corrections.references[8] == f"{key}:0"
    # Into a log that is there: its own nuclei keep their numbers.
    assert cli.run(["corrections", "merge", str(bob), "--out", str(bob)]) == 0
    assert "renumbered" not in capsys.readouterr().out
