"""Damaged logs: one clear message, and nothing that was whole is lost; several writers at once."""

import json
import multiprocessing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from histonuc import cli
from histonuc.corrections import CorrectionLog, read_corrections
from histonuc.corrections.ordering import put_in_order
from histonuc.corrections.parsing import LogParser, split_whole

from .drawn import maker, square, write_row

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)
HARMLESS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def folder(tmp_path):
    folder = write_row(tmp_path / "slide")
    make = maker(folder)
    CorrectionLog(folder).append(
        make("classify", 1, 2, **{"class": "Plasma cell"}),
        make("define_class", name="Mitosis", colour="#ff0000", digit=7),
        make("split", 3, rings=[square(50, 10, 4), square(55, 10, 4)]),
        make("comment", place=[3.5, 4], text="äöü ✓"),
        make("field", ring=square(0, 0, 99), complete=True),
    )
    return folder


@HARMLESS
@given(share=st.floats(0, 1))
def test_a_cut_file_keeps_its_whole_lines(folder, share):
    log = CorrectionLog(folder)
    whole = log.path.read_bytes()
    try:
        before = log.read().operations
        end = round(share * len(whole))
        log.path.write_bytes(whole[:end])
        num_whole = whole[:end].count(b"\n")
        if end + 1 <= len(whole) and whole[end : end + 1] == b"\n":
            num_whole += 1  # only its end is missing
        found = CorrectionLog(folder).read()
        assert [one.key for one in found.operations] == [one.key for one in before[:num_whole]]
        CorrectionLog(folder).append(maker(folder)("delete", 1))
        after = CorrectionLog(folder).read()
        assert [one.do for one in after.operations] == [
            *(one.do for one in before[:num_whole]),
            "delete",
        ]
        rest = whole[:end].split(b"\n")[-1]
        assert after.notes == () or b'"crc"' in rest or rest.endswith(b"}")
    finally:
        log.path.write_bytes(whole)


@HARMLESS
@given(place=st.floats(0, 0.9999), bit=st.integers(0, 7))
def test_a_flipped_bit_is_noticed_and_costs_its_own_line_at_most(folder, place, bit):
    log = CorrectionLog(folder)
    whole = bytearray(log.path.read_bytes())
    before = {one.key: one.to_record() for one in log.read().operations}
    whole[int(place * len(whole))] ^= 1 << bit
    lines, rest = split_whole(bytes(whole))
    parser = LogParser(log.path)
    parser.feed(lines)
    found = parser.content(rest)
    assert len(found.operations) >= len(before) - 2  # of a flipped end two lines are one
    assert len(found.operations) == len(before) or found.notes
    for one in found.operations:
        if one.is_known and one.key in before:
            assert {**one.to_record(), "after": ""} == {**before[one.key], "after": ""}


@settings(HARMLESS, max_examples=12)
@given(lines=st.lists(JSON, min_size=1, max_size=4), changed=JSON, name=st.integers(0, 20))
def test_wild_json_is_told_in_one_message(folder, lines, changed, name):
    log = CorrectionLog(folder)
    whole = log.path.read_bytes()
    try:
        records = [json.loads(line) for line in whole.splitlines()]
        record = records[name % len(records)]
        record.pop("crc")
        record[sorted(record)[name % len(record)]] = changed
        wild = "".join(json.dumps(line) + "\n" for line in [*lines, record])
        log.path.write_bytes(whole + wild.encode())
        assert cli.run(["corrections", "show", str(folder)]) == 0
        log.append(maker(folder)("delete", 6))
        assert log.path.read_bytes().startswith(whole + wild.encode())  # nothing is lost
        assert 6 in read_corrections(folder).corrections.deleted
        log.path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert cli.run(["corrections", "show", str(folder)]) == 2
    finally:
        log.path.write_bytes(whole)


def write_many(folder, name):
    make = maker(folder, name)
    log = CorrectionLog(folder)
    for number in range(20):
        log.append(make("comment", number % 6 + 1, text=f"{name} {number}"))


def test_several_programs_write_at_once(folder):
    names = ["ann", "bob", "eve"]
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(folder, name)) for name in names]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    content = CorrectionLog(folder).read()
    assert content.notes == ()
    assert len(content.operations) == 5 + 60
    assert put_in_order(content.operations).is_one_line
    for name in names:
        texts = [str(one.fields.get("text")) for one in content.operations]
        assert [t for t in texts if t.startswith(name)] == [f"{name} {n}" for n in range(20)]


def test_a_log_that_cannot_be_written_is_one_message(folder, capsys):
    (folder / "corrections.jsonl").unlink()
    (folder / "corrections.jsonl").mkdir()
    assert cli.run(["corrections", "show", str(folder)]) == 2
    assert "corrections.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("end", [b'"crc":"12', b"}"])
def test_a_line_that_is_read_while_it_is_written_is_read_again(folder, end):
    log = CorrectionLog(folder)
    whole = log.path.read_bytes()
    (lines, last) = whole.splitlines(keepends=True)[:-1], whole.splitlines(keepends=True)[2]
    before = b"".join(lines[:2])
    cut = last.index(b'"crc":') + 9 if b"crc" in end else last.index(b"}") + 1
    log.path.write_bytes(before + last[:cut])
    reader = CorrectionLog(folder)
    assert len(reader.read().operations) == 2
    log.path.write_bytes(before + last)
    content = reader.read()
    assert len(content.operations) == 3
    assert content.notes == ()


@pytest.mark.parametrize("place", [5, "here", [1], [None, 1], {}, [1e300, 1]])
def test_a_comment_nowhere_is_a_damaged_line(folder, place, capsys):
    log = CorrectionLog(folder)
    record = json.loads(log.path.read_text().splitlines()[3])
    del record["crc"]
    record |= {"key": "f" * 16, "place": place}
    with log.path.open("a") as file:
        file.write(json.dumps(record) + "\n")
    assert cli.run(["corrections", "show", str(folder)]) == 0
    assert "line 6 is damaged and not applied" in capsys.readouterr().out
