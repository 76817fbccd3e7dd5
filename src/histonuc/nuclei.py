"""Nuclei as a struct of arrays, from and to label images.

Frame: points are ``(x, y)`` in level-0 pixels, continuous, with ``(0, 0)`` at the top-left *corner*
of the top-left pixel, so that the centre of pixel ``[y, x]`` is ``(x + 0.5, y + 0.5)``. Arrays are
row-major ``[y, x]``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.contours import find_centroids, measure_rings, trace_contours
from histonuc.taxonomy import LabelSpace

CLASS_TRUST = "class_trust"
"""Name of the feature, 0 to 1, of models that tell how far their classes can be trusted."""
_SPARSE = 4
"""Ids of up to so many times the number of pixels are looked up in a list, others are sorted."""


def make_consecutive(labels: NDArray[Any]) -> tuple[NDArray[np.int32], NDArray[Any]]:
    """Number the nuclei of a label image 1..n, in the order of their ids.

    Args:
        labels: array of any shape and number type, 0 = background.

    Returns:
        int32 of the same shape, and the id (n,) that each of 1..n had.

    >>> dense, ids = make_consecutive(np.array([[0, 7], [300, 7]]))
    >>> dense.tolist(), ids.tolist()
    ([[0, 1], [2, 1]], [7, 300])
    """
    is_small = labels.size > 0 and labels.dtype.kind in "iu"
    if is_small and labels.min() >= 0 and labels.max() <= _SPARSE * labels.size:
        present = np.zeros(int(labels.max()) + 1, bool)
        present[labels] = True
        present[0] = False
        number = np.cumsum(present, dtype=np.int32) * present
        return number[labels], np.flatnonzero(present).astype(labels.dtype)
    ids = np.unique(labels)
    ids = ids[ids != 0]
    found = np.searchsorted(ids, labels) + 1
    return np.where(labels == 0, 0, found).astype(np.int32), ids


@dataclass(frozen=True, kw_only=True, eq=False)
class TileLabels:
    """Truth of one tile, as `encode` takes it.

    Attributes:
        instances: int32 (H, W), 0 = background, 1..n = nuclei.
        candidates: uint32 (n + 1,), candidate set of each nucleus (bit j: may be class j);
            entry 0 is the background, 0.
        ignore: bool (H, W), True where the truth is unknown and no loss is to be taken.
        class_only: whether nothing but the classes of these nuclei is known: they are those that
            points mark, outlined by a model. `ignore` is True everywhere then, so that nothing is
            learned of outlines and background; the loss of the class counts at their pixels.
    """

    instances: NDArray[np.int32]
    candidates: NDArray[np.uint32]
    ignore: NDArray[np.bool_]
    class_only: bool = False


@dataclass(frozen=True, kw_only=True, eq=False)
class PointLabels:
    """Points that mark nuclei of one tile and say their class; nothing is known of outlines.

    Attributes:
        position: float64 (k, 2), (x, y) in pixels of the tile, continuous, (0, 0) at the top-left
            corner of the top-left pixel.
        candidates: uint32 (k,), candidate set of each marked nucleus (bit j: may be class j).
    """

    position: NDArray[np.float64]
    candidates: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.candidates)


@dataclass(frozen=True, kw_only=True, eq=False)
class Instances:
    """Decoded nuclei of one tile, still as a label image.

    Attributes:
        labels: int32 (H, W), 0 = background, 1..n consecutive.
        class_probabilities: float32 (n, C), rows sum to 1; row ``i`` belongs to label ``i + 1``.
        score: float32 (n,), detection score in 0..1.
        class_trust: float32 (n,), see `CLASS_TRUST`; None of models that cannot tell.
    """

    labels: NDArray[np.int32]
    class_probabilities: NDArray[np.float32]
    score: NDArray[np.float32]
    class_trust: NDArray[np.float32] | None = None

    @property
    def types(self) -> NDArray[np.int32]:
        """int32 (n + 1,), most probable class + 1 by label; entry 0 (background) is 0."""
        if len(self.score) == 0:
            return np.zeros(1, np.int32)
        return np.concatenate([[0], self.class_probabilities.argmax(1) + 1]).astype(np.int32)


@dataclass(frozen=True, kw_only=True, eq=False)
class CoveredPixels:
    """What a flat label image cannot show: pixels of nuclei that another nucleus covers.

    Attributes:
        pixel: int64 (k,), row-major index of the pixel.
        nucleus: int64 (k,), id of a nucleus that lies there unseen. Ids that the label image lacks
            belong to nuclei that are covered wholly.
        types: int32, class + 1 by id (entry 0: background), wholly covered nuclei included.
    """

    pixel: NDArray[np.int64]
    nucleus: NDArray[np.int64]
    types: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.pixel)


@dataclass(frozen=True, kw_only=True, eq=False)
class Nuclei:
    """Outlined, classified nuclei; every array has one row a nucleus.

    Attributes:
        points: float64 (P, 2), vertices (x, y) of all contours, one after the other; rings are
            open (the first vertex is not repeated) and clockwise on the screen.
        offsets: int64 (n + 1,), contour ``i`` is ``points[offsets[i]:offsets[i + 1]]``.
        centroid: float64 (n, 2), (x, y) mean of the nucleus's pixel centres.
        class_probabilities: float32 (n, C), rows sum to 1.
        score: float32 (n,), detection score in 0..1.
        label_space: names and colours of the C classes.
        mpp: microns per level-0 pixel, NaN when unknown.
        features: further measurements by name, each float32 (n,).
        texts: further text by name, each (n,), such as the region that a nucleus lies in; empty
            where there is none.
        embedding: float16 (n, D), the network's features of each nucleus; None where nobody asked.
    """

    points: NDArray[np.float64]
    offsets: NDArray[np.int64]
    centroid: NDArray[np.float64]
    class_probabilities: NDArray[np.float32]
    score: NDArray[np.float32]
    label_space: LabelSpace
    mpp: float = float("nan")
    features: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    texts: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    embedding: NDArray[np.float16] | None = None

    def __len__(self) -> int:
        return len(self.score)

    @property
    def class_index(self) -> NDArray[np.int64]:
        """int64 (n,), most probable class."""
        return self.class_probabilities.argmax(1) if len(self) else np.zeros(0, np.int64)

    @property
    def box(self) -> NDArray[np.float64]:
        """float64 (n, 4), x_min, y_min, x_max, y_max of each contour, in level-0 pixels."""
        return self._ring_facts()[:, :4]

    @property
    def area_px(self) -> NDArray[np.float64]:
        """float64 (n,), area of each contour in square level-0 pixels."""
        return np.abs(self._ring_facts()[:, 4])

    def _ring_facts(self) -> NDArray[np.float64]:
        points = self.points.view()
        points.flags.writeable = False  # as those of a table are: one type to compile for
        return measure_rings(points, self.offsets)

    @property
    def area_um2(self) -> NDArray[np.float64]:
        """float64 (n,), area of each contour in square microns; NaN when mpp is unknown."""
        return self.area_px * self.mpp**2

    def contour(self, index: int) -> NDArray[np.float64]:
        """Vertices (k, 2) of one contour, an open ring."""
        return self.points[self.offsets[index] : self.offsets[index + 1]]

    def select(self, keep: NDArray[np.bool_] | NDArray[np.integer] | Sequence[int]) -> Nuclei:
        """The nuclei of a boolean mask (n,) or an index array, in that order."""
        index = np.asarray(keep)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        sizes = np.diff(self.offsets)[index]
        offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.repeat(self.offsets[index] - offsets[:-1], sizes) + np.arange(offsets[-1])
        return replace(
            self,
            points=self.points[rows],
            offsets=offsets,
            centroid=self.centroid[index],
            class_probabilities=self.class_probabilities[index],
            score=self.score[index],
            features={name: values[index] for name, values in self.features.items()},
            texts={name: values[index] for name, values in self.texts.items()},
            embedding=None if self.embedding is None else self.embedding[index],
        )

    @staticmethod
    def empty(
        label_space: LabelSpace,
        mpp: float = float("nan"),
        features: Sequence[str] = (),
        texts: Sequence[str] = (),
    ) -> Nuclei:
        """No nuclei, with features and texts of these names."""
        return Nuclei(
            points=np.zeros((0, 2)),
            offsets=np.zeros(1, np.int64),
            centroid=np.zeros((0, 2)),
            class_probabilities=np.zeros((0, len(label_space)), np.float32),
            score=np.zeros(0, np.float32),
            label_space=label_space,
            mpp=mpp,
            features={name: np.zeros(0, np.float32) for name in features},
            texts={name: np.zeros(0, np.str_) for name in texts},
        )

    @staticmethod
    def concat(parts: Sequence[Nuclei]) -> Nuclei:
        """All nuclei of several parts, in order.

        Raises:
            ValueError: no parts, or parts of different label spaces, features, texts or
                embeddings.
        """
        if not parts:
            raise ValueError("expected at least one part to join, got none")
        if len({part.label_space.classes for part in parts}) > 1:
            raise ValueError("expected parts of one label space, got several")
        if len({(*part.features, "", *part.texts) for part in parts}) > 1:
            raise ValueError("expected parts with the same features and texts, got several")
        embeddings = [part.embedding for part in parts if part.embedding is not None]
        if len(embeddings) not in (0, len(parts)):
            raise ValueError("expected parts that all have embeddings or none, got some")
        starts = np.cumsum([0] + [len(part.points) for part in parts[:-1]])
        offsets = [part.offsets[1:] + start for part, start in zip(parts, starts, strict=True)]
        return Nuclei(
            points=np.concatenate([part.points for part in parts]),
            offsets=np.concatenate([np.zeros(1, np.int64), *offsets]),
            centroid=np.concatenate([part.centroid for part in parts]),
            class_probabilities=np.concatenate([part.class_probabilities for part in parts]),
            score=np.concatenate([part.score for part in parts]),
            label_space=parts[0].label_space,
            mpp=parts[0].mpp,
            features={
                name: np.concatenate([part.features[name] for part in parts])
                for name in parts[0].features
            },
            texts={
                name: np.concatenate([part.texts[name] for part in parts])
                for name in parts[0].texts
            },
            embedding=np.concatenate(embeddings) if embeddings else None,
        )

    @staticmethod
    def from_instances(
        instances: Instances, label_space: LabelSpace, mpp: float = float("nan")
    ) -> Nuclei:
        """Outline the nuclei of a label image; the frame is the image's own pixels.

        A nucleus of several 4-connected parts is outlined by its largest part, holes are filled.
        """
        points, offsets = trace_contours(instances.labels, len(instances.score))
        return Nuclei(
            points=points,
            offsets=offsets,
            centroid=find_centroids(instances.labels, len(instances.score)),
            class_probabilities=instances.class_probabilities,
            score=instances.score,
            label_space=label_space,
            mpp=mpp,
            features={} if (trust := instances.class_trust) is None else {CLASS_TRUST: trust},
        )

    def to_labels(self, height: int, width: int) -> NDArray[np.int32]:
        """Label image int32 (height, width): ``i + 1`` where pixel centres lie in nucleus ``i``.

        Where contours overlap the later nucleus wins.
        """
        import shapely

        labels = np.zeros((height, width), np.int32)
        for i, (x0, y0, x1, y1) in enumerate(self.box):
            left, top = max(int(np.floor(x0)), 0), max(int(np.floor(y0)), 0)
            right, bottom = min(int(np.ceil(x1)), width), min(int(np.ceil(y1)), height)
            if right <= left or bottom <= top:
                continue
            grid_x, grid_y = np.meshgrid(np.arange(left, right) + 0.5, np.arange(top, bottom) + 0.5)
            polygon = shapely.Polygon(self.contour(i))
            shapely.prepare(polygon)
            inside = shapely.contains_xy(polygon, grid_x, grid_y)
            labels[top:bottom, left:right][inside] = i + 1
        return labels
