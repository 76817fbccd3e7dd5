"""Options of one prediction: the schema, and the help of ``histonuc predict``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

_NOT_IN_KEY = frozenset(
    {
        *("model", "device", "precision"),  # the loaded model's hash and arithmetic stand for them
        "regions",  # the hash of the file's content stands for it
        "classifier",  # and that of its file
        *("batch_size", "cluster", "geojson", "overwrite"),
    }
)


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """All options of `histonuc predict`."""

    model: str = "default"
    """A shipped model's name, an exported file, a run folder or a checkpoint."""
    device: str = "auto"
    """auto, cpu, cuda:0 or mps."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Arithmetic; auto is int8 where a shipped model has an int8 version and the processor is an
    x86, else bf16 where the processor has it, else fp32, which gives the same everywhere. Of a
    checkpoint it is fp32."""
    flips: bool = False
    """Average over four mirrorings: a little better, at four times the network's time."""
    mpp: float | None = None
    """Microns per pixel at level 0; needed where a slide does not state it."""
    tile_px: int = 1024
    """Width of the network's widest input, at the model's mpp; its highest is 1.4 times as high."""
    margin_um: float = 12.0
    """Margin around each tile, in microns, in which neighbouring tiles overlap."""
    batch_size: int = 1
    """Tiles a forward pass; raise it on a GPU."""
    scene: int | None = None
    """Which picture of a file that holds several."""
    icc: bool = False
    """Turn colours into sRGB by the profile inside each file; the models saw none turned."""
    regions: Path | None = None
    """Analyse these instead of all tissue: GeoJSON polygons in level-0 pixels, as QuPath exports
    annotations, or a PNG mask of the slide; or a folder with one NAME.geojson or NAME.png for each
    input."""
    frame: Literal["qupath", "slide"] = "qupath"
    """Measure positions in GeoJSON, of regions and of nuclei, from the corner of the part that was
    scanned, as QuPath does, or from that of the whole slide, as the table does; they differ on few
    slides."""
    ink: bool = True
    """Leave out tissue under marker ink and the dye of surgical margins. --no-ink analyses it, too:
    for tissue that is taken for ink."""
    min_class_probability: float | None = None
    """A nucleus whose most probable class has less than this, 0 to 1, gets class Uncertain. By
    default it is what the model asks for, often nothing (0)."""
    min_class_trust: float | None = None
    """A nucleus that looks less than this, 0 to 1, like those that the classes were learned from
    gets class Uncertain: see the column class_trust. By default it is what the model asks for."""
    cluster: str = ""
    """A Dask scheduler's address, or local:4 for four processes of this machine."""
    classifier: Path | None = None
    """Give the nuclei the classes of this classifier of `histonuc teach` instead of the model's."""
    embeddings: bool = False
    """Write embeddings.parquet too, the network's features of each nucleus, from which
    `histonuc teach` learns classes: some 220 bytes a nucleus."""
    geojson: bool = True
    """Write nuclei.geojson for QuPath too, most of a result's bytes; `histonuc export` can write it
    later."""
    overwrite: bool = False
    """Do finished inputs again."""

    def __post_init__(self) -> None:
        if self.regions is not None:
            object.__setattr__(self, "regions", Path(self.regions))
        if self.classifier is not None:
            object.__setattr__(self, "classifier", Path(self.classifier))
        if self.mpp is not None:
            from histonuc.slides import PLAUSIBLE_MPP

            low, high = PLAUSIBLE_MPP
            if not low <= self.mpp <= high:
                raise ValueError(
                    f"--mpp {self.mpp:g}: expected microns per pixel, {low:g} to {high:g}: "
                    "0.25 for 40x, 0.5 for 20x"
                )
        for name in ("min_class_probability", "min_class_trust"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:  # nor NaN
                raise ValueError(f"--{name.replace('_', '-')} {value:g}: expected 0 to 1")
        if self.batch_size < 1:
            raise ValueError(f"--batch-size {self.batch_size}: expected 1 or more")
        if not (math.isfinite(self.margin_um) and self.margin_um >= 0):
            raise ValueError(f"--margin-um {self.margin_um:g}: expected 0 or more")

    def check_for(self, model_mpp: float) -> None:
        """Refuse tiles that would be mostly margin, and the time spent on it.

        Args:
            model_mpp: microns per pixel of the network's input.

        Raises:
            ValueError: with the least `tile_px`.
        """
        least_px = max(1, math.ceil(3 * self.margin_um / model_mpp))
        if self.tile_px < least_px:
            raise ValueError(
                f"--tile-px {self.tile_px}: expected {least_px} or more, three times the margin of "
                f"{self.margin_um:g} microns around each tile at the model's {model_mpp:g} mpp"
            )

    def key(self) -> dict[str, Any]:
        """The options that the nuclei depend on, JSON-able, by name.

        The model and the regions are not among them: their contents stand for them, see
        `histonuc.inference.predict.make_key`. The frame is, where regions are measured in it.

        >>> PredictOptions(batch_size=8).key() == PredictOptions().key()
        True
        >>> PredictOptions(tile_px=512).key() == PredictOptions().key()
        False
        """
        left_out = _NOT_IN_KEY if self.regions is not None else _NOT_IN_KEY | {"frame"}
        if not self.embeddings:  # results of earlier versions, which had no such option, stay good
            left_out |= {"embeddings"}
        return {name: value for name, value in self.to_dict().items() if name not in left_out}

    def origin_px(self, bounds_xyxy: tuple[int, int, int, int]) -> tuple[int, int]:
        """Level-0 pixel (x, y) that positions in files from and for QuPath are measured from.

        Args:
            bounds_xyxy: of the part of the slide that the scanner visited, in level-0 pixels.
        """
        return bounds_xyxy[:2] if self.frame == "qupath" else (0, 0)

    def to_dict(self) -> dict[str, Any]:
        """All options, JSON-able, by name."""
        values = asdict(self)
        paths = {name: values[name] for name in ("regions", "classifier")}
        return values | {name: path and str(path) for name, path in paths.items()}


DEFAULTS = PredictOptions()
"""What is meant where nothing is said."""


def name_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """What of a result's key differs, in the words of the user.

    >>> name_changes({"tile_px": 512, "bytes": 7}, {"tile_px": 1024, "bytes": 9})
    '--tile-px, file'
    """
    flags = {field.name: f"--{field.name.replace('_', '-')}" for field in fields(PredictOptions)}
    changed = [name for name in after if before.get(name) != after[name]]
    return ", ".join(sorted({(_WORDS | flags).get(name, name) for name in changed}))


_WORDS = {
    **dict.fromkeys(("source", "bytes", "modified_ns", "files_sha256"), "file"),
    **dict.fromkeys(("format", "version"), "version of histonuc"),
    "model_sha256": "model",
    "classifier_sha256": "--classifier",
    "mpp_xy": "scale",
    "regions_sha256": "regions",
    "tiles_sha256": "view of the tissue",
}
"""What the parts of a result's key are called that are no options."""
