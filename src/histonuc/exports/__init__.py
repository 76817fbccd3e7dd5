"""Nuclei in the formats of other programs, and back: one module a format."""

from histonuc.exports.folder import FORMATS, ExportSummary, Format, export_folder
from histonuc.exports.source import Source, as_source
from histonuc.exports.table import TABLE_FILE, from_table, read_table, to_table, write_table

__all__ = [
    "FORMATS",
    "TABLE_FILE",
    "ExportSummary",
    "Format",
    "Source",
    "as_source",
    "export_folder",
    "from_table",
    "read_table",
    "to_table",
    "write_table",
]
