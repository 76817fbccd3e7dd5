"""CSV: the table without the contours, for spreadsheets and R."""

from __future__ import annotations

from pathlib import Path

from histonuc.exports.source import Source, as_source, plain_columns
from histonuc.files import replacing
from histonuc.nuclei import Nuclei


def write_csv(nuclei: Nuclei | Source | Path, path: Path) -> None:
    """Write one row a nucleus, all columns but the contour; an unknown area in µm² is empty."""
    import pyarrow.csv as pacsv

    source = as_source(nuclei)
    with replacing(path) as draft:
        writer = None
        for batch in source.batches():
            table = plain_columns(batch, source)
            if writer is None:
                options = pacsv.WriteOptions(quoting_style="needed")
                writer = pacsv.CSVWriter(draft, table.schema, write_options=options)
            writer.write_table(table)
        if writer is not None:
            writer.close()
