"""histonuc: find, outline and classify every nucleus in H&E tissue.

Every command of the command line is one function here with the same name: `prepare_pannuke`,
`prepare_folder`, `prepare_outline`, `prepare_corrections`, `synth`, `info`, `list_models`, `train`,
`crossval`, `evaluate`, `merge_scores`, `compare`, `predict`, `summarise`, `export`, `report`,
`export_model`, `demo`, `view`, `show_corrections`, `merge_corrections`, `choose_corrections`,
`teach`, `classify`, `audit`. (`histonuc models` is `list_models`, because `histonuc.models` is the
package that holds the models.) They load what they need when called; importing the package loads
nothing. `PredictOptions` holds the options of `predict`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from histonuc._version import __version__ as __version__

if TYPE_CHECKING:
    from histonuc.commands import (
        PredictOptions,
        audit,
        choose_corrections,
        classify,
        compare,
        crossval,
        demo,
        evaluate,
        export,
        export_model,
        info,
        list_models,
        merge_corrections,
        merge_scores,
        predict,
        prepare_corrections,
        prepare_folder,
        prepare_outline,
        prepare_pannuke,
        report,
        show_corrections,
        summarise,
        synth,
        teach,
        train,
        view,
    )

__all__ = [
    "PredictOptions",
    "audit",
    "choose_corrections",
    "classify",
    "compare",
    "crossval",
    "demo",
    "evaluate",
    "export",
    "export_model",
    "info",
    "list_models",
    "merge_corrections",
    "merge_scores",
    "predict",
    "prepare_corrections",
    "prepare_folder",
    "prepare_outline",
    "prepare_pannuke",
    "report",
    "show_corrections",
    "summarise",
    "synth",
    "teach",
    "train",
    "view",
]


def __getattr__(name: str) -> Any:
    """Import a command when it is first asked for (PEP 562)."""
    if name in __all__:
        return getattr(import_module("histonuc.commands"), name)
    raise AttributeError(f"module 'histonuc' has no attribute {name!r}")
