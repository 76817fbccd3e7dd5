"""Runs, scores and data as one self-contained HTML page."""

from histonuc.reporting.page import report

__all__ = ["report"]
