"""The commands as functions: what `histonuc NAME` runs and what `histonuc.NAME()` calls.

Each gathers the parts it needs, calls them, and returns an `Outcome`. Heavy imports live inside the
functions, so that ``histonuc --help`` answers at once and a plain install needs no torch.
"""

from histonuc.commands.correcting import (
    choose_corrections,
    merge_corrections,
    show_corrections,
)
from histonuc.commands.exporting import export
from histonuc.commands.informing import info
from histonuc.commands.model_files import export_model, list_models
from histonuc.commands.outcome import Outcome
from histonuc.commands.predicting import demo, predict, summarise
from histonuc.commands.preparing import (
    prepare_corrections,
    prepare_folder,
    prepare_outline,
    prepare_pannuke,
    synth,
)
from histonuc.commands.scoring import compare, evaluate, merge_scores, report
from histonuc.commands.teaching import audit, classify, teach
from histonuc.commands.training import config_train, crossval, fine_tune, train
from histonuc.commands.viewing import view
from histonuc.inference.options import PredictOptions

__all__ = [
    "Outcome",
    "PredictOptions",
    "audit",
    "choose_corrections",
    "classify",
    "compare",
    "config_train",
    "crossval",
    "demo",
    "evaluate",
    "export",
    "export_model",
    "fine_tune",
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
