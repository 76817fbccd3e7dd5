"""The folder of one result: the parts of a run that is under way, and what a finished one holds.

An interrupted run goes on from its parts. The file of a part appears whole or not at all, holds
nothing but arrays, and is checked when it is read (zip stores a checksum of each array): a part is
either right or done again. ``run.json`` beside the parts says what they are parts of.
"""

from __future__ import annotations

import json
import logging
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from histonuc.corrections.source import corrected_source
from histonuc.exports import TABLE_FILE
from histonuc.exports.cohort import write_regions
from histonuc.exports.embeddings import EMBEDDINGS_FILE, open_embeddings
from histonuc.exports.facts import Frame, SlideFacts
from histonuc.exports.geojson import open_geojson, write_geojson
from histonuc.exports.source import open_source, split_batches
from histonuc.exports.summary import SUMMARY_FILE, SlideResult, read_summary, write_summary
from histonuc.exports.table import open_table
from histonuc.files import reading, remove_drafts, replacing, write_text
from histonuc.inference.options import PredictOptions, name_changes
from histonuc.inference.tiles import Part, TileResult, TileStatus
from histonuc.nuclei import Nuclei

log = logging.getLogger(__name__)

RESULT_FORMAT = 13
"""Raised when the files of a result or of its parts change: older ones are then made anew."""
GEOJSON_FILE, REGIONS_FILE = "nuclei.geojson", "regions.csv"
OVERVIEW_FILE, DETAIL_FILE, DENSITY_FILE = "overview.jpg", "detail.jpg", "density.jpg"
CLASS_DENSITY_FILE = "density_by_class.jpg"
PICTURES = (OVERVIEW_FILE, DETAIL_FILE, DENSITY_FILE, CLASS_DENSITY_FILE)
"""Files of the pictures, as far as a result has them."""
PARTS_FOLDER = "parts"
"""Folder of the parts inside a result's folder; gone when the result is complete."""
RUN_FILE = "run.json"
_ARRAYS = (
    *("points", "offsets", "centroid", "class_probabilities", "score", "features", "embedding"),
    *("owned", "column", "status", "flag", "count", "reasons"),
)


@dataclass(frozen=True)
class ResultFolder:
    """The folder of one result.

    Attributes:
        path: where it is, or will be.
    """

    path: Path

    @property
    def table(self) -> Path:
        """The table of nuclei."""
        return self.path / TABLE_FILE

    @property
    def embeddings(self) -> Path:
        """The network's features of the nuclei."""
        return self.path / EMBEDDINGS_FILE

    @property
    def geojson(self) -> Path:
        """The nuclei for QuPath."""
        return self.path / GEOJSON_FILE

    def read_key(self) -> dict[str, Any] | None:
        """What the result that lies here depends on, finished or not; None where none lies here.

        It is read from results of other versions, too, and is empty where one does not tell.
        """
        finished = _read_object(self.path / SUMMARY_FILE) if self.table.is_file() else None
        if finished is None:
            return self.read_run()
        key = finished.get("fingerprint")
        return key if isinstance(key, dict) else {}

    def read_run(self) -> dict[str, Any] | None:
        """What the parts that lie here depend on; None where there are none."""
        return _read_object(self.path / PARTS_FOLDER / RUN_FILE)

    def read_finished(self, key: Mapping[str, Any]) -> SlideResult | None:
        """The record of the finished result that `key` describes.

        None where there is none, or where since then the summary was changed or the table cut or
        replaced. Its pages are not read: their own checksums are for those who do.
        """
        import pyarrow.parquet as pq

        if self.read_key() != key or not self.table.is_file():
            return None
        try:
            with reading(self.table, "table of nuclei"):
                num_rows = pq.read_metadata(self.table).num_rows
            result = read_summary(self.path)
            if num_rows != result.num_nuclei:
                raise ValueError(f"{self.table} has {num_rows} rows, expected {result.num_nuclei}")
        except ValueError as error:
            log.warning("%s: the input is done again", error)
            return None
        return result

    def begin(self, key: Mapping[str, Any]) -> tuple[str, ...]:
        """Prepare for a run. Parts stay where they are of the very same result, else they go.

        Args:
            key: JSON-able facts of all that the parts depend on.

        Returns:
            Warnings: what was dropped, and why.
        """
        folder, wanted = self.path / PARTS_FOLDER, json.loads(json.dumps(dict(key)))
        before, warnings = self.read_run(), []
        if before == wanted:
            remove_drafts(folder)
        else:
            if any(folder.glob("part-*.npz")):
                warnings.append(
                    "an interrupted run of this input was begun anew: it was made with another "
                    f"{name_changes(before or {}, wanted)}"
                )
            self.remove_parts()
            write_text(folder / RUN_FILE, json.dumps(wanted, indent=2) + "\n")
        for name in (SUMMARY_FILE, GEOJSON_FILE, REGIONS_FILE, EMBEDDINGS_FILE):
            (self.path / name).unlink(missing_ok=True)
        remove_drafts(self.path)
        return tuple(warnings)

    @contextmanager
    def open_outputs(
        self,
        empty: Nuclei,
        facts: SlideFacts,
        *,
        geojson: bool,
        frame: Frame = "qupath",
    ) -> Iterator[Callable[[Nuclei], None]]:
        """A function that appends nuclei to the table and, if wanted, to the other files.

        The files appear when the block ends well. That of embeddings is among them where nuclei
        have some.

        Args:
            empty: no nuclei, with the label space, mpp and features of those to come.
            facts: JSON-able, for the table's schema.
            geojson: whether to write it, too.
            frame: what the positions in it are measured from.
        """
        source = open_source(empty).with_facts(facts)
        text = open_geojson(self.geojson, source, frame=frame) if geojson else nullcontext()
        size = 0 if empty.embedding is None else empty.embedding.shape[1]
        vectors = open_embeddings(self.embeddings, size, facts) if size else nullcontext()
        with (
            open_table(self.table, empty, facts) as append_rows,
            vectors as append_vectors,
            text as append_text,
        ):
            next_id = 1

            def append(nuclei: Nuclei) -> None:
                nonlocal next_id
                append_rows(nuclei)
                if append_vectors is not None and nuclei.embedding is not None:
                    append_vectors(nuclei.embedding)
                if append_text is not None:
                    for batch in split_batches(nuclei, first_id=next_id):
                        append_text(batch)
                next_id += len(nuclei)

            yield append

    def finish(self, result: SlideResult) -> None:
        """Write the record of the result; only then nothing of its parts is needed any more."""
        if result.regions:
            write_regions(result.regions, self.path / REGIONS_FILE)
        write_summary(result, self.path)
        self.remove_parts()

    def mend_geojson(self, result: SlideResult, options: PredictOptions) -> SlideResult:
        """The finished result with the GeoJSON that `options` want.

        It is written anew, with the corrections, where it was not wanted then, removed, cut, or in
        another frame.
        """
        size = self.geojson.stat().st_size if self.geojson.is_file() else None
        frame = options.frame
        if size == result.geojson_bytes is not None and result.settings["frame"] == frame:
            return result
        write_geojson(corrected_source(self.path), self.geojson, frame=frame)
        mended = replace(
            result,
            geojson_bytes=self.geojson.stat().st_size,
            geojson_origin_px=options.origin_px(result.bounds_xyxy),
            settings=result.settings | {"geojson": True, "frame": frame},
        )
        write_summary(mended, self.path)
        return mended

    def remove_parts(self) -> None:
        """Drop the parts, if any: the result is complete, or to be done again."""
        shutil.rmtree(self.path / PARTS_FOLDER, ignore_errors=True)

    def has_part(self, part: Part) -> bool:
        """Whether a sound file of the whole part is there.

        One that is damaged, or lacks regions that could not be read, is to be done again.
        """
        path = self._part_path(part)
        if not path.exists():
            return False
        try:
            with reading(path, "part of a prediction"), zipfile.ZipFile(path) as file:
                if damaged := file.testzip():
                    raise ValueError(f"the checksum of {damaged} is wrong")
                if set(file.namelist()) != {f"{name}.npy" for name in _ARRAYS}:
                    raise ValueError(f"it holds {', '.join(file.namelist())}")
                with file.open("status.npy") as stream:
                    status = np.lib.format.read_array(stream, allow_pickle=False)
                return "unreadable" not in status
        except ValueError as error:
            log.warning("%s: it is done again", error)
            return False

    def save_part(self, part: Part, results: Sequence[TileResult]) -> None:
        """Write what came of the tiles of a part; the file appears whole or not at all.

        Raises:
            OSError: the disk is full or gone.
        """
        nuclei = Nuclei.concat([result.nuclei for result in results])
        reasons = json.dumps([result.reason for result in results])
        arrays: dict[str, Any] = {
            "points": nuclei.points,
            "offsets": nuclei.offsets,
            "centroid": nuclei.centroid,
            "class_probabilities": nuclei.class_probabilities,
            "score": nuclei.score,
            "features": np.stack(list(nuclei.features.values()), axis=1),
            "embedding": np.zeros(0) if nuclei.embedding is None else nuclei.embedding,
            "owned": np.concatenate([result.owned for result in results]),
            "column": np.array([result.tile.column for result in results], np.int64),
            "status": np.array([result.status for result in results], "U16"),
            "flag": np.array([result.flag for result in results], "U16"),
            "count": np.array([len(result.owned) for result in results], np.int64),
            "reasons": np.frombuffer(reasons.encode(), np.uint8),
        }
        assert tuple(arrays) == _ARRAYS  # else no part would ever be found sound
        with replacing(self._part_path(part)) as draft, draft.open("wb") as stream:
            np.savez(stream, **arrays)

    def load_part(self, part: Part, empty: Nuclei) -> list[TileResult]:
        """Read a part that is there.

        Args:
            part: which one.
            empty: no nuclei, with the label space, mpp and features of those in the part.
        """
        with np.load(self._part_path(part), allow_pickle=False) as file:
            arrays = dict(file)
        nuclei = Nuclei(
            points=arrays["points"],
            offsets=arrays["offsets"],
            centroid=arrays["centroid"],
            class_probabilities=arrays["class_probabilities"],
            score=arrays["score"],
            label_space=empty.label_space,
            mpp=empty.mpp,
            features=dict(zip(empty.features, arrays["features"].T, strict=True)),
            embedding=None if empty.embedding is None else arrays["embedding"],
        )
        ends = np.cumsum(arrays["count"]).tolist()
        rows = [np.arange(*span) for span in pairwise([0, *ends])]
        tiles = {tile.column: tile for tile in part.tiles}
        reasons = json.loads(arrays["reasons"].tobytes())
        return [
            TileResult(
                tile=tiles[int(column)],
                status=cast(TileStatus, str(arrays["status"][i])),
                nuclei=nuclei.select(rows[i]),
                owned=arrays["owned"][rows[i]],
                flag=str(arrays["flag"][i]),
                reason=reasons[i],
            )
            for i, column in enumerate(arrays["column"])
        ]

    def _part_path(self, part: Part) -> Path:
        return self.path / PARTS_FOLDER / f"{part.name}.npz"


def _read_object(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
