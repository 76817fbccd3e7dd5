"""The only code that reports a score: predictions of a store's tiles in, scores.json out."""

from histonuc.evaluation.external import evaluate_predictions
from histonuc.evaluation.folder import load_scores, write_scores
from histonuc.evaluation.loop import evaluate
from histonuc.evaluation.panels import Panel, load_panels
from histonuc.evaluation.pieces import merge_scores, take_part
from histonuc.evaluation.results import Evaluation, GroupCounts, TileScore, TileTable

__all__ = [
    "Evaluation",
    "GroupCounts",
    "Panel",
    "TileScore",
    "TileTable",
    "evaluate",
    "evaluate_predictions",
    "load_panels",
    "load_scores",
    "merge_scores",
    "take_part",
    "write_scores",
]
