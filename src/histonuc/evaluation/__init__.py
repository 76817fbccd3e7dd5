"""The only code that reports a score: predictions of a store's tiles in, scores.json out."""

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
    "load_panels",
    "write_scores",
]
