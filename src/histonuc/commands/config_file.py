"""``--config FILE``: values of a YAML file that stand below the flags of the same command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cyclopts import App, ArgumentCollection
from cyclopts.config import Dict

from histonuc.field_checks import refuse_unknown
from histonuc.yaml_reader import read_yaml

PRINTED_BY = "`histonuc config train` prints one"


@dataclass(frozen=True, kw_only=True)
class ConfigFile:
    """A source of values for Cyclopts: those that the command line does not give.

    Of options by name, such as ``trunk_options``, each stands for itself: a flag replaces the one
    it names and leaves the file's others.

    Attributes:
        path: the file.
        values: what it holds.
    """

    path: Path
    values: Mapping[str, Any]

    def __call__(self, app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        """Add the values to the arguments.

        Raises:
            ValueError: a name that the command does not have.
        """
        flags = [argument.names[0] for argument in arguments if argument.names[0] != "*"]
        known = {flag[2:].partition(".")[0].replace("-", "_") for flag in flags}
        refuse_unknown(self.values, known, f"settings in {self.path}")
        typed = [list(argument.tokens) for argument in arguments]
        for argument in arguments:
            argument.tokens.clear()
        source = Dict(dict(self.values), source=str(self.path), use_commands_as_keys=False)
        source(app, commands, arguments)
        for argument, tokens in zip(arguments, typed, strict=True):
            given = {token.keys for token in tokens}
            others = [token for token in argument.tokens if token.keys and token.keys not in given]
            if tokens:
                argument.tokens[:] = [*others, *tokens]


def read_config(path: Path) -> ConfigFile:
    """The values of a YAML file.

    Raises:
        ValueError: no such file, or anything else in it, with the line where it breaks.
    """
    if not path.is_file():
        raise ValueError(f"--config: no file at {path}; {PRINTED_BY}")
    return ConfigFile(path=path, values=read_yaml(path, "settings"))
