"""The only code that reports a score: predictions of a store's tiles in, scores.json out."""

from histonuc.evaluation.evaluate import (
    evaluate_maps,
    evaluate_predictions,
    score_files,
    score_model,
)
from histonuc.evaluation.folder import load_scores, write_scores
from histonuc.evaluation.functions import evaluate_arrays, evaluate_function
from histonuc.evaluation.panels import Panel, load_panels
from histonuc.evaluation.pieces import merge_scores
from histonuc.evaluation.printed import score_lines
from histonuc.evaluation.results import Evaluation
from histonuc.evaluation.selection import TileSelection
from histonuc.evaluation.tables import score_tables, summarise
from histonuc.evaluation.tile_scores import TileScore, TileScores

__all__ = [
    "Evaluation",
    "Panel",
    "TileScore",
    "TileScores",
    "TileSelection",
    "evaluate_arrays",
    "evaluate_function",
    "evaluate_maps",
    "evaluate_predictions",
    "load_panels",
    "load_scores",
    "merge_scores",
    "score_files",
    "score_lines",
    "score_model",
    "score_tables",
    "summarise",
    "write_scores",
]
