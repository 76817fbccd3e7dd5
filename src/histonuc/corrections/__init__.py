"""Corrections: what people said of a result, kept beside it, and the result as they see it."""

from histonuc.corrections.log import CORRECTIONS_FILE, CorrectionLog, user_name
from histonuc.corrections.matching import find_targets, read_table_facts
from histonuc.corrections.operations import Operation, Target
from histonuc.corrections.parsing import LogContent
from histonuc.corrections.records import Corrections, Made, Targets
from histonuc.corrections.replay import replay
from histonuc.corrections.source import (
    apply_corrections,
    corrected_source,
    open_corrected,
    read_corrections,
)

__all__ = [
    "CORRECTIONS_FILE",
    "CorrectionLog",
    "Corrections",
    "LogContent",
    "Made",
    "Operation",
    "Target",
    "Targets",
    "apply_corrections",
    "corrected_source",
    "find_targets",
    "open_corrected",
    "read_corrections",
    "read_table_facts",
    "replay",
    "user_name",
]
