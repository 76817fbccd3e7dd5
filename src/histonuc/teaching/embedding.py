"""Embeddings of results that were predicted without: the network looks at the nuclei again."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from histonuc.exports import TABLE_FILE, read_table
from histonuc.exports.embeddings import EMBEDDINGS_FILE, open_embeddings, to_embedding
from histonuc.exports.facts import SlideFacts
from histonuc.exports.summary import SlideResult, read_summary
from histonuc.inference.options import PredictOptions
from histonuc.inference.pipeline import in_order
from histonuc.inference.plan import plan_slide
from histonuc.inference.scale import resolve_scale
from histonuc.inference.sources import check_unchanged
from histonuc.inference.tiles import Box, Tile
from histonuc.models.engines import num_cores
from histonuc.models.loading import load_model
from histonuc.models.model import Model
from histonuc.nuclei import Nuclei
from histonuc.slides import Slide, open_slide
from histonuc.teaching.features import NucleusFeatures, read_features

log = logging.getLogger(__name__)
_WITHOUT = "or teach without embeddings (--no-embeddings)"


def complete_features(folder: Path, *, embeddings: bool) -> NucleusFeatures:
    """The features of a result; its embeddings are made from the slide where it has none.

    Args:
        folder: of the result, where they are then kept.
        embeddings: False for shape, stain and neighbourhood alone.

    Raises:
        ValueError: there are none, and none can be made; with what to do.
    """
    if not embeddings:
        return read_features(folder).without_embedding()
    if not (folder / EMBEDDINGS_FILE).is_file():
        make_embeddings(folder)
    return read_features(folder)


def make_embeddings(folder: Path) -> None:
    """Write ``embeddings.parquet`` of a result: pooled over its outlines, by its own model.

    Raises:
        ValueError: the slide or the model is not there any more, or gives no features.
    """
    result = read_summary(folder)
    source = Path(result.fingerprint.get("source", result.source))
    if not source.exists():
        raise ValueError(
            f"{folder} has no embeddings, and its slide {source} is not there to make them from: "
            f"bring it back, predict with --embeddings, {_WITHOUT}"
        )
    check_unchanged(source, result.fingerprint)
    options = read_options(result)
    model = _load(folder, result, options)
    log.info("%s has no embeddings: the network looks at %s again", folder, source)
    nuclei = read_table(folder / TABLE_FILE)
    facts: SlideFacts = {
        "source": source.name,
        "model": model.name,
        "model_sha256": model.sha256,
        "version": result.version,
    }
    size = model.spec.embedding_size
    with open_slide(source, scene=options.scene, icc=options.icc) as slide:
        scale = resolve_scale(slide, source.name, options.mpp, model)
        plan = plan_slide(slide, source, scale.mpp_xy, options, model)
        values = np.zeros((len(nuclei), size), np.float16)
        for rows, found in _pool_tiles(slide, plan.tiles, nuclei, model):
            values[rows] = found
    with open_embeddings(folder / EMBEDDINGS_FILE, size, facts) as append:
        append(values)


def read_options(result: SlideResult) -> PredictOptions:
    """The options that a result was predicted with, on this machine."""
    known = {field.name for field in fields(PredictOptions)}
    given = {name: value for name, value in result.settings.items() if name in known}
    return replace(PredictOptions(**given), cluster="", overwrite=False)


def _load(folder: Path, result: SlideResult, options: PredictOptions) -> Model:
    """The model of a result, if it gives features and is still the same."""
    model = load_model(
        options.model, options.device, options.precision, num_cores(), flips=options.flips
    )
    if model.sha256 != result.fingerprint.get("model_sha256"):
        raise ValueError(
            f"{folder} has no embeddings, and its model {options.model} is another one by now: "
            f"predict again with --embeddings, {_WITHOUT}"
        )
    if not model.spec.features:
        raise ValueError(
            f"{folder} was predicted with {model.name}, which gives no features of nuclei: predict "
            f"again with a model that does and --embeddings, {_WITHOUT}"
        )
    return model


def _pool_tiles(
    slide: Slide, tiles: tuple[Tile, ...], nuclei: Nuclei, model: Model
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
    """Rows of the table, and the features of these nuclei, a tile at a time."""
    left = np.ones(len(nuclei), bool)
    work: list[tuple[Tile, NDArray[np.int64]]] = []
    for boxes in ([tile.core for tile in tiles], [tile.window for tile in tiles]):
        for tile, box in zip(tiles, boxes, strict=True):
            rows = np.flatnonzero(left & _inside(nuclei.centroid, box))
            left[rows] = False
            if len(rows):
                work.append((tile, rows))

    def pool(item: tuple[Tile, NDArray[np.int64]]) -> NDArray[np.float16]:
        return _pool_tile(slide, item[0], nuclei.select(item[1]), model)

    with closing(in_order(iter(work), pool, num_cores())) as found:
        for (_, rows), values in zip(work, found, strict=True):
            yield rows, values


def _pool_tile(slide: Slide, tile: Tile, nuclei: Nuclei, model: Model) -> NDArray[np.float16]:
    """Features (n, D) of nuclei that lie in a tile's window."""
    window = tile.window
    image = slide.read(window.x0, window.y0, *window.size, *tile.input_px)
    scale = np.array(window.size) / tile.input_px
    placed = replace(nuclei, points=(nuclei.points - (window.x0, window.y0)) / scale)
    labels = placed.to_labels(*image.shape[:2])
    return to_embedding(model.outputs(image[None]).embed(model.spec, labels, len(nuclei), 0))


def _inside(centroid: NDArray[np.float64], box: Box) -> NDArray[np.bool_]:
    x, y = centroid.T
    return np.asarray((x >= box.x0) & (x < box.x1) & (y >= box.y0) & (y < box.y1))
