"""The command line: help is fast and complete, errors are one line, README commands parse."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from histonuc import __all__ as public
from histonuc import cli, commands
from histonuc.commands.config_file import read_config

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_help_names_every_command(capsys) -> None:
    assert cli.run(["--help"]) == 0
    text = capsys.readouterr().out
    for name in ("prepare", "synth", "info", "models", "config", "train", "evaluate", "report"):
        assert name in text
    for name in ("crossval", "compare", "predict", "view", "export", "export-model", "demo"):
        assert name in text


def test_every_command_is_a_function_of_the_package() -> None:
    import histonuc

    for name in public:
        assert getattr(histonuc, name) is getattr(commands, name)
    with pytest.raises(AttributeError):
        histonuc.nothing  # noqa: B018


HEAVY = (
    *("torch", "cv2", "numpy", "pyarrow", "openvino", "openslide", "matplotlib", "numba", "scipy"),
    *(
        "shapely",
        "tifffile",
        "PIL",
        "timm",
        "lightning_fabric",
        "onnx",
        "onnxruntime",
        "distributed",
        "starlette",
        "uvicorn",
    ),
)


@pytest.mark.parametrize(
    "code",
    [
        "import histonuc.commands",
        "from histonuc import cli; cli.run(['--help'])",
        "from histonuc import cli; cli.run(['train', '--help'])",
        "from histonuc import cli; cli.run(['predict', '--help'])",
        "from histonuc import cli; cli.run(['view', '--help'])",
        "import histonuc.viewing.serving",  # all that is loaded before the link is printed
        "from histonuc import cli; cli.run(['config', 'train'])",
    ],
)
def test_commands_and_help_load_nothing_heavy(code) -> None:
    code += f"\nimport sys; print(sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("predict nowhere.svs --out {tmp}/o", "nothing at nowhere.svs"),
        ("evaluate nothing --data {tmp} --out {tmp}/o", "no such model"),
        ("prepare pannuke {tmp} --out {tmp}/o", "fold"),
        ("prepare folder {tmp} --out {tmp}/o", "index.csv"),
        ("info {tmp}/missing", "nothing at"),
        ("info {tmp}", "is a folder, but no store"),
        ("train --config {tmp}/no.yaml", "--config: no file"),
        ("train --config", "--config needs a YAML file"),
        ("train --data {tmp} --out {tmp}/r", "is no store"),
        ("train --data {tmp} --out {tmp}/r --epoch 3", "Did you mean --epochs"),
        ("crossval --data {tmp} --out {tmp}/r", "is no store"),
        ("compare {tmp}", "two or more score folders"),
        ("compare {tmp} {tmp}", "give a folder of `histonuc evaluate`"),
        ("synth --out {tmp}/s --tiles 1", "at least one tile a fold"),
        ("export {tmp}", "no prediction in"),
        ("train --data {tmp} --out {tmp}/r --max-lrr 3", "Did you mean --max-lr? Options of this"),
        (
            "predict x --out {tmp}/o --zzz 3",
            "Options of this command: --batch-size, --classifier, --cluster",
        ),
        ("segment", "Unknown command"),
    ],
)
def test_bad_input_gives_one_clear_error_and_code_2(line, message, tmp_path, capsys) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        try:
            code = cli.run(shlex.split(line.format(tmp=tmp_path)))
        except SystemExit as stop:  # usage errors leave through the parser
            code = stop.code
    captured = capsys.readouterr()
    assert code == 2
    assert message in re.sub(r"\s*│?\n│?\s*", " ", captured.err)
    assert "Traceback" not in captured.err


def test_json_is_machine_readable(capsys, tmp_path) -> None:
    assert (
        cli.run(
            ["synth", "--out", str(tmp_path / "raw"), "--tiles", "3", "--tile-px", "64", "--json"]
        )
        == 0
    )
    assert json.loads(capsys.readouterr().out)["tiles"] == 3


def test_a_config_file_stands_below_the_flags(capsys, tmp_path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr("histonuc.training.loop.train", lambda c: seen.append(c) or c.out)
    file = tmp_path / "my.yaml"
    file.write_text("trunk: compact\nepochs: 7\nfolds: [3]\naugment: {blur: 0.5}\n")
    arguments = ["--config", str(file), "--data", "D", "--out", "R", "--epochs", "9"]
    assert cli.run(["train", *arguments]) == 0
    (config,) = seen
    assert (config.trunk, config.epochs, config.folds) == ("compact", 9, (3,))
    assert config.augment.blur == 0.5
    for text, message in (
        ("trunk: compact\nepohcs: 7\n", "epohcs (did you mean epochs?); known are accelerator, "),
        ("trunk: compact\nepochs: [1\nfolds: : 3\n", "my.yaml, line 3: "),
        ("- trunk\n", "expected values by name, got list"),
        ("plugin: [mine.py]\n", "unknown settings in"),
    ):
        file.write_text(text)
        assert cli.run(["train", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert "my.yaml" in error


def test_a_flag_replaces_one_option_of_a_config_file_and_leaves_the_others(
    tmp_path, monkeypatch
) -> None:
    seen = []
    monkeypatch.setattr("histonuc.training.loop.train", lambda c: seen.append(c) or c.out)
    file = tmp_path / "my.yaml"
    file.write_text(
        "trunk_options: {widths: [128, 96], up: linear, rate: 1.0e-5}\naugment: {blur: 0.5}\n"
    )
    words = ["--config", str(file), "--data", "D", "--out", "R", "--augment.jpeg", "0.25"]
    assert cli.run(["train", *words, "--trunk-options.up", "[4, 2]"]) == 0
    (config,) = seen
    assert config.trunk_options == {"widths": [128, 96], "up": [4, 2], "rate": 1e-5}
    assert (config.augment.blur, config.augment.jpeg) == (0.5, 0.25)


def test_a_missing_extra_is_named(monkeypatch, capsys) -> None:
    monkeypatch.setattr("histonuc.extras.is_installed", lambda extra: False)
    assert cli.run(["train", "--data", "D", "--out", "R"]) == 2
    assert "pip install 'histonuc[train]'" in capsys.readouterr().err
    assert cli.run(["crossval", "--data", "D", "--out", "R"]) == 2
    assert "pip install 'histonuc[train]'" in capsys.readouterr().err
    assert cli.run(["compare", "A", "B", "--out", "C"]) == 2
    assert "pip install 'histonuc[report]'" in capsys.readouterr().err
    assert cli.run(["report", "R", "--out", "r.html"]) == 2
    assert "pip install 'histonuc[report]'" in capsys.readouterr().err


def documented_commands() -> list[str]:
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```bash\n(.*?)```", document.read_text(), re.S):
            joined = block.replace("\\\n", " ")
            found += [
                line.strip() for line in joined.splitlines() if line.strip().startswith("histonuc ")
            ]
    return sorted(set(found))


@pytest.mark.parametrize("line", documented_commands())
def test_documented_commands_parse(line, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(cli, "load_plugin", lambda path: None)  # tests/docs has these files
    words = shlex.split(line, comments=True)[1:]
    tokens = [word for word in words if word not in ("--json", "--debug")]  # `cli.run` takes these
    if "--config" in tokens and tokens[tokens.index("--config") + 1].startswith("runs/"):
        tokens += ["--data", "DATA", "--out", "RUN"]  # as the file of a run says
        tokens[tokens.index("--config") + 1] = "configs/fine_tune.yaml"
    line = cli.read_line(tokens)
    app = cli.build_app([read_config(Path(path)) for path in line.configs])
    command, _, _ = app.parse_args(line.words, exit_on_error=False, print_error=False)
    assert callable(command)


def test_the_documentation_has_commands() -> None:
    assert len(documented_commands()) > 8
