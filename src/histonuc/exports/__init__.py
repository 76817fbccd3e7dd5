"""Nuclei in the formats of other programs, and back: one module a format."""

from histonuc.exports.facts import Frame
from histonuc.exports.folder import ExportSummary, export_folder, name_results_inside
from histonuc.exports.formats import FORMATS, FormatName
from histonuc.exports.source import Source, open_source
from histonuc.exports.table import TABLE_FILE, from_table, read_table, to_table, write_table

__all__ = [
    "FORMATS",
    "TABLE_FILE",
    "ExportSummary",
    "FormatName",
    "Frame",
    "Source",
    "export_folder",
    "from_table",
    "name_results_inside",
    "open_source",
    "read_table",
    "to_table",
    "write_table",
]
