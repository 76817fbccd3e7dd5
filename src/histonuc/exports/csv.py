"""CSV: the table without the contours, for spreadsheets and R."""

from __future__ import annotations

from pathlib import Path

from histonuc.exports.source import Source, open_source, plain_columns
from histonuc.files import replacing
from histonuc.nuclei import Nuclei


def write_csv(nuclei: Nuclei | Source | Path, path: Path) -> None:
    """Write one row a nucleus, all columns but the contour; an unknown area in µm² is empty."""
    import pyarrow.csv as pacsv

    source = open_source(nuclei)
    schema = plain_columns(source.empty_batch(), source).schema
    with replacing(path) as draft, pacsv.CSVWriter(draft, schema) as writer:
        for batch in source.batches():
            writer.write_table(plain_columns(batch, source))
