"""How much a nucleus looks, to the network, like those that its classes were learned from.

The distance is Mahalanobis's to the nearest of several centres with one covariance (Lee et al.
2018, "A simple unified framework for detecting out-of-distribution samples", arXiv 1807.03888),
between the network's own features, which are averaged over the nucleus. The trust of a nucleus is
the share of nuclei like those learned from, but never trained on, that are farther away: it is
spread evenly over 0 to 1 among such nuclei, and close to 0 among others.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from histonuc.representations.cells import Cells

TRUST_KEY = "histonuc_trust"
"""Key of a `Trust`'s text in the metadata of every kind of model file."""
_MAX_TEXT = 4_000_000
"""Longest text, in characters; that of 128 features has about 100,000."""
_ARRAYS = ("centres", "whitening", "distances")


@dataclass(frozen=True, kw_only=True, eq=False)
class Trust:
    """What a model knows of the nuclei that its classes were learned from.

    Attributes:
        centres: float32 (K, D), features of typical nuclei, such as the means of the classes.
        whitening: float32 (R, D), W with Wᵀ W the inverse covariance around the centres, of all
            features or of some.
        distances: float32 (Q,), ascending: evenly spaced quantiles, from 0 to 1, of the distance of
            nuclei like those learned from that no training saw.

    Raises:
        ValueError: arrays that do not fit each other, or that no distance can be computed with.
    """

    centres: NDArray[np.float32]
    whitening: NDArray[np.float32]
    distances: NDArray[np.float32]

    def __post_init__(self) -> None:
        shapes = [array.shape for array in self._arrays()]
        fits = [len(shape) for shape in shapes] == [2, 2, 1] and shapes[0][1] == shapes[1][1]
        if not fits or min(map(min, shapes)) < 1:
            raise ValueError(f"trust: expected arrays (K, D), (R, D) and (Q,), got {shapes}")
        finite = all(np.isfinite(array).all() for array in self._arrays())
        if not finite or (np.diff(self.distances) < 0).any():
            raise ValueError("trust: expected finite values, and distances in ascending order")

    def _arrays(self) -> tuple[NDArray[np.float32], ...]:
        return self.centres, self.whitening, self.distances

    @property
    def num_features(self) -> int:
        """D, the number of features of a nucleus."""
        return int(self.centres.shape[1])

    def measure(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Distance of each nucleus to the nearest centre, float32 (n,), of features (n, D)."""
        white = features.astype(np.float32) @ self.whitening.T
        centres = self.centres @ self.whitening.T
        squares = ((white[:, None] - centres[None]) ** 2).sum(2)
        nearest: NDArray[np.float32] = np.sqrt(squares.min(1))
        return nearest

    def judge(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Trust of each nucleus, float32 (n,) in 0..1, of its features (n, D)."""
        level = np.linspace(1, 0, len(self.distances))
        trust = np.interp(self.measure(features), self.distances, level, left=1, right=0)
        return trust.astype(np.float32)

    def to_text(self) -> str:
        """The text that model files carry under `TRUST_KEY`."""
        record = {}
        for name, array in zip(_ARRAYS, self._arrays(), strict=True):
            content = base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode("ascii")
            record[name] = {"shape": list(array.shape), "float32": content}
        return json.dumps(record)

    @classmethod
    def from_text(cls, text: str) -> Trust:
        """Inverse of `to_text`.

        Raises:
            ValueError: another text, or arrays that do not fit.
        """
        if len(text) > _MAX_TEXT:
            raise ValueError(f"trust: expected at most {_MAX_TEXT} characters, got {len(text)}")
        try:
            record = json.loads(text)
            arrays = {
                name: np.frombuffer(
                    base64.b64decode(record[name]["float32"], validate=True), "<f4"
                ).reshape([int(side) for side in record[name]["shape"]])
                for name in _ARRAYS
            }
        except (TypeError, LookupError, RecursionError, binascii.Error, ValueError) as error:
            raise ValueError(f"trust: damaged text ({type(error).__name__})") from None
        return cls(**{name: array.astype(np.float32) for name, array in arrays.items()})


def read_trust(features: Mapping[str, int], text: str | None) -> Trust | None:
    """The trust that a model file carries, if it does.

    Args:
        features: channels by stride, as the model's description states them.
        text: that stands under `TRUST_KEY`; None where there is none.

    Raises:
        ValueError: a damaged text, or another number of features than the model gives.
    """
    if text is None:
        return None
    trust = Trust.from_text(text)
    if trust.num_features != sum(features.values()):
        raise ValueError(
            f"trust: expected {sum(features.values())} features, as the model gives, got "
            f"{trust.num_features}"
        )
    return trust


def pool_features(
    features: Sequence[Cells], labels: NDArray[np.int32], num: int
) -> NDArray[np.float32]:
    """The network's features of each nucleus: means over its pixels, one grid after the other.

    Args:
        features: of one image, each (D_i, h, w).
        labels: int32 (H, W), ids 0..num.
        num: number of nuclei.

    Returns:
        float32 (num, Σ D_i).
    """
    pooled = [cells.pool(labels, num) for cells in features]
    return np.concatenate(pooled, axis=1).astype(np.float32)


def pool_deviations(
    cells: Cells, means: NDArray[np.float32], labels: NDArray[np.int32]
) -> NDArray[np.float32]:
    """Standard deviations of a grid's first features over the pixels of each nucleus.

    Args:
        cells: features of one image (D, h, w).
        means: of the first k of them, float32 (num, k).
        labels: int32 (H, W), ids 0..num.

    Returns:
        float32 (num, k).
    """
    num, count = means.shape
    squares = Cells(values=cells.values[:count] ** 2, stride=cells.stride).pool(labels, num)
    return np.sqrt(np.maximum(squares - means.astype(np.float64) ** 2, 0)).astype(np.float32)
