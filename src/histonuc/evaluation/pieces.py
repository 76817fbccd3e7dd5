"""A store scored in pieces, on one machine or many, and the pieces' score folders made one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from pathlib import Path

import numpy as np

from histonuc.evaluation.folder import load_scores, write_scores
from histonuc.evaluation.records import Scores
from histonuc.evaluation.results import Evaluation
from histonuc.evaluation.tile_scores import TileScores

_Piece = tuple[Path, Evaluation, Scores]
"""Folder, evaluation, and content of scores.json."""


def merge_scores(folders: Sequence[str | Path], out_dir: str | Path) -> tuple[Evaluation, Scores]:
    """Write the score folder of all tiles of several, as if they had been scored at once.

    Every file is the same, byte by byte, whatever the number and the order of the folders; only
    scores.json tells when and with which versions it was made.

    Args:
        folders: score folders, each of other tiles of one store, by one model.
        out_dir: folder to write.

    Returns:
        The evaluation, and the content of its ``scores.json``.

    Raises:
        ValueError: no folders, a damaged one, tiles in two of them, or scores of two models, label
            spaces or versions.
    """
    if not folders:
        raise ValueError("expected score folders of `histonuc evaluate` to merge, got none")
    pieces: list[_Piece] = [(Path(folder), *load_scores(folder)) for folder in folders]
    for piece in pieces[1:]:
        _check_alike(pieces[0], piece)
    _check_disjoint(pieces)
    # What is told of the data is told as the piece with the first tile tells it.
    pieces.sort(key=lambda piece: int(piece[1].tiles.numbers["tile"].min()))
    merged = reduce(add, (evaluation for _, evaluation, _ in pieces))
    _, _, scores = pieces[0]
    data = scores["data"].copy()
    data.pop("part", None)
    merged = replace(merged, tiles=merged.tiles.sorted_by_tile())
    return merged, write_scores(merged, out_dir, model=scores["model"], data=data)


def _check_alike(first: _Piece, other: _Piece) -> None:
    (folder, _, scores), (other_folder, _, other_scores) = first, other
    for name, one, another in (
        ("label space", scores["label_space"], other_scores["label_space"]),
        ("kind of labels", scores["labels"], other_scores["labels"]),
        ("reason to leave classes out", scores["no_classes"], other_scores["no_classes"]),
        ("model", _model(scores), _model(other_scores)),
        ("version", scores["versions"]["histonuc"], other_scores["versions"]["histonuc"]),
    ):
        if one != another:
            raise ValueError(
                f"the {name} differs: {one} in {folder}, {another} in {other_folder}; pieces must "
                "be scored in one way, on one store"
            )


def _model(scores: Scores) -> dict[str, object]:
    """Facts about the model but for where its predictions lay, which each machine calls its own."""
    return {key: value for key, value in scores["model"].items() if key != "predictions"}


def _check_disjoint(pieces: Sequence[_Piece]) -> None:
    tiles = TileScores.concat([evaluation.tiles for _, evaluation, _ in pieces])
    owners = np.repeat(np.arange(len(pieces)), [len(piece.tiles) for _, piece, _ in pieces])
    order = np.argsort(tiles.numbers["tile"], kind="stable")
    again = np.flatnonzero(np.diff(tiles.numbers["tile"][order]) == 0)
    if len(again):
        first, second = order[again[0] : again[0] + 2].tolist()
        tile = tiles[second]
        raise ValueError(
            f"tile {tile.tile} ({tile.source}/{tile.name}) is in both "
            f"{pieces[owners[first]][0]} and {pieces[owners[second]][0]}: pieces must be of "
            "different tiles of one store"
        )
