"""The only code that reports a score: predictions of a store's tiles in, scores.json out."""

from histonuc.evaluation.external import evaluate_predictions
from histonuc.evaluation.loop import evaluate
from histonuc.evaluation.panels import Panel, load_panels
from histonuc.evaluation.results import Evaluation, GroupCounts, TileScore
from histonuc.evaluation.scores import write_scores

__all__ = [
    "Evaluation",
    "GroupCounts",
    "Panel",
    "TileScore",
    "evaluate",
    "evaluate_predictions",
    "load_panels",
    "write_scores",
]
