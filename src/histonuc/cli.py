"""The command line: parse, call the function of `commands`, print its outcome, set the exit code.

Exit codes: 0 ok, 1 some items failed, 2 usage or bad input.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cyclopts import App, CycloptsError, CycloptsPanel, Parameter, UnknownOptionError

from histonuc import commands
from histonuc._version import __version__
from histonuc.commands.config_file import PRINTED_BY, ConfigFile, read_config
from histonuc.parts import load_plugin
from histonuc.plain_text import never_fail, readable

if TYPE_CHECKING:
    from rich.panel import Panel

GO_ON = {
    "predict": "what is finished is kept: run the same command again to go on",
    "demo": "what is finished is kept: run the same command again to go on",
    "train": "run the same command with --resume to go on from the last checkpoint",
    "crossval": "run the same command with --resume to go on from the last checkpoint",
}
"""How to go on after Ctrl-C, by command; the others are begun anew."""
NOISY = (
    *("PIL", "matplotlib", "tifffile", "torch", "onnxscript", "onnx_ir", "httpx"),
    *("distributed", "mlflow", "alembic", "highdicom", "pydicom"),
)
"""Loggers of libraries whose remarks are not for users; their warnings are."""
COMMANDS = (
    commands.synth,
    commands.info,
    commands.train,
    commands.fine_tune,
    commands.crossval,
    commands.evaluate,
    commands.merge_scores,
    commands.compare,
    commands.report,
    commands.predict,
    commands.summarise,
    commands.view,
    commands.teach,
    commands.classify,
    commands.audit,
    commands.export,
    commands.export_model,
    commands.demo,
)
"""The commands whose names are those of their functions."""


def build_app(configs: Sequence[ConfigFile] = ()) -> App:
    """The parser of the command line.

    Args:
        configs: files whose values stand below the flags.
    """
    app = App(
        name="histonuc",
        help="Find, outline and classify every nucleus in H&E tissue; train and judge the "
        "networks.",
        help_epilogue="Every command takes --json (machine-readable), --debug (tracebacks) and "
        "--plugin FILE.py (trunks, representations and losses of your own).",
        version=__version__,
        default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
        config=tuple(configs),
        result_action="return_value",
        error_formatter=_explain,
        suppress_keyboard_interrupt=False,  # `run` says how to go on
    )
    prepare = App(name="prepare", help="Turn raw data into a store for training and evaluation.")
    prepare.command(commands.prepare_pannuke, name="pannuke")
    prepare.command(commands.prepare_folder, name="folder")
    prepare.command(commands.prepare_outline, name="outline")
    prepare.command(commands.prepare_corrections, name="corrections")
    config = App(name="config", help="Print configurations with every default and its comment.")
    config.command(commands.config_train, name="train")
    corrections = App(name="corrections", help="What people corrected in results.")
    corrections.command(commands.show_corrections, name="show")
    corrections.command(commands.merge_corrections, name="merge")
    corrections.command(commands.choose_corrections, name="choose")
    for group in (prepare, config, corrections):
        app.command(group)
    app.command(commands.list_models, name="models")
    for command in COMMANDS:
        app.command(command)
    return app


def _explain(error: CycloptsError) -> Panel:
    """What is wrong with a command line; of an unknown option also which there are."""
    lines = [str(error)]
    if isinstance(error, UnknownOptionError):
        flags = sorted({argument.names[0] for argument in error.argument_collection} - {"*"})
        lines.append(f"Options of this command: {', '.join(flags)}")
    return CycloptsPanel("\n".join(lines))


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """One command line, taken apart as far as it is the same for every command.

    Attributes:
        words: what is left for the command's own parser.
        plugins: files with trunks, representations and losses.
        configs: YAML files whose values stand below the flags.
    """

    words: tuple[str, ...]
    plugins: tuple[str, ...]
    configs: tuple[str, ...]


def read_line(arguments: Sequence[str]) -> CommandLine:
    """Take apart a command line; no file is read.

    Raises:
        ValueError: a flag without its file, or a place for results that cannot be written.
    """
    words = [word for word in arguments if word not in ("--json", "--debug")]
    plugins, words = _take(words, "--plugin", "a Python file")
    configs, words = _take(words, "--config", f"a YAML file; {PRINTED_BY}")
    _check_out(words)
    return CommandLine(words=tuple(words), plugins=tuple(plugins), configs=tuple(configs))


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point of the ``histonuc`` program."""
    for stream in (sys.stdout, sys.stderr):
        never_fail(stream)
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code."""
    as_json, debug = "--json" in arguments, "--debug" in arguments
    _set_up_logging(debug=debug)
    try:
        outcome = _call(read_line(arguments))
    except (ValueError, OSError) as error:
        if debug:
            raise
        logging.getLogger("histonuc").error("error: %s", error)
        return 2
    except KeyboardInterrupt:
        words = ["interrupted", *(GO_ON[word] for word in arguments[:1] if word in GO_ON)]
        logging.getLogger("histonuc").error("; ".join(words))
        return 130
    if not isinstance(outcome, commands.Outcome):  # --help and --version print for themselves
        return 0
    lines = "\n".join(outcome.lines).split("\n")
    text = (
        json.dumps(_whole(outcome.data), indent=2) if as_json else "\n".join(map(readable, lines))
    )
    if text:
        sys.stdout.write(text + "\n")
    return outcome.exit_code


def _call(line: CommandLine) -> Any:
    """Run the plugins of a command line, read its configurations, and call its command."""
    for plugin in line.plugins:
        load_plugin(plugin)
    return build_app([read_config(Path(path)) for path in line.configs])(line.words)


def _set_up_logging(*, debug: bool) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter("%(message)s"))
    level = logging.DEBUG if debug else logging.INFO
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(logging.WARNING)


class _Formatter(logging.Formatter):
    """Names of files in a message cannot command the terminal; line ends stay."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return "\n".join(map(readable, super().formatMessage(record).split("\n")))


def _whole(value: Any) -> Any:
    """JSON-able data without the half characters of names that are not UTF-8."""
    if isinstance(value, Mapping):
        return {_whole(name): _whole(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(item) for item in value]
    if not isinstance(value, str):
        return value
    return re.sub("[\ud800-\udfff]", lambda half: readable(half[0]), value)


def _check_out(tokens: Sequence[str]) -> None:
    """Refuse results in a place whose name is no text: most formats cannot be written there.

    Raises:
        ValueError: such a name.
    """
    for flag, word in zip(["", *tokens], [*tokens, ""], strict=True):
        named = word if flag == "--out" else word.removeprefix("--out=")
        if named != word or flag == "--out":
            try:
                named.encode()
            except UnicodeEncodeError:
                raise ValueError(f"--out {readable(named)}: expected a name in UTF-8") from None


def _take(tokens: list[str], flag: str, what: str) -> tuple[list[str], list[str]]:
    """The words after each occurrence of a flag, and all other tokens."""
    taken, others, words = [], [], iter(tokens)
    for word in words:
        if word != flag:
            others.append(word)
            continue
        value = next(words, None)
        if value is None:
            raise ValueError(f"{flag} needs {what}")
        taken.append(value)
    return taken, others
