"""YAML files of others: clear errors with a line, and nothing that takes gigabytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from histonuc import cli
from histonuc.yaml_reader import MAX_VALUES, read_yaml

BOMB = "a0: &a0 [1, 1]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
"""Two billion values in 300 bytes."""
MERGES = "a0: &a0 {x: 1}\n" + "".join(
    f"a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trunk: compact\nepochs: [1\nfolds: : 3\n", "my.yaml, line 3: "),
        ("trunk: 'compact\n", "my.yaml, line 2: .*end of stream"),
        ("trunk: compact\nmax_lr: 1\nmax_lr: 2\n", "my.yaml, line 3: 'max_lr' is given twice"),
        ("a: !!python/object/apply:os.system ['true']\n", "line 1: could not determine"),
        ("- trunk\n", "expected values by name, got list"),
        ("trunk\n", "expected values by name, got str"),
        ("a: 1\n---\nb: 2\n", "line 2: but found another document"),
        ("a: *b\n", "line 1: found undefined alias"),
        ("a: \x01\n", "special characters are not allowed"),
        ("a: 2001-99-99\n", "my.yaml is damaged or no settings"),
        ("a: &a [*a]\n", "values at most"),
        (BOMB, "values at most, with aliases written out"),
        (MERGES, "values at most, with aliases written out"),
        ("[" * 1500, "my.yaml is damaged or no settings"),
        ("a: " + "1" * 200_000, "100 kB at most"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path: Path, text, message) -> None:
    file = tmp_path / "my.yaml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message) as caught:
        read_yaml(file, "settings")
    assert "\n" not in str(caught.value)


def test_aliases_and_merges_of_a_decent_size_are_read(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("a: &a {x: 1, y: [2]}\nb: {<<: *a, x: 3}\nc: *a\n")
    assert read_yaml(file, "settings")["b"] == {"x": 3, "y": [2]}
    file.write_text("# nothing yet\n")
    assert read_yaml(file, "settings") == {}
    file.write_text("\n".join(f"k{n}: 1" for n in range(MAX_VALUES // 2 - 1)))
    assert len(read_yaml(file, "settings")) == MAX_VALUES // 2 - 1


def test_a_pipe_or_no_file_is_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file at"):
        read_yaml(tmp_path / "none.yaml", "settings")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ValueError, match="expected a file of 100 kB at most"):
        read_yaml(tmp_path / "pipe.yaml", "settings")


@pytest.mark.parametrize("text", [BOMB, MERGES, "trunk: [1\n"])
def test_commands_that_read_yaml_say_what_is_wrong_with_it(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(text)
    (run / "metrics.jsonl").write_text('{"event": "epoch", "epoch": 1}\n')
    for words in (
        ["report", str(run), "--out", str(tmp_path / "report.html")],
        ["train", "--config", str(run / "config.yaml"), "--data", "D", "--out", "R"],
        ["crossval", "--config", str(run / "config.yaml"), "--data", "D", "--out", "R"],
    ):
        assert cli.run(words) == 2
        assert "config.yaml" in capsys.readouterr().err
