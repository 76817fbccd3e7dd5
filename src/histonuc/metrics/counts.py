"""Sums that add up to the same bits in any order: everything counted is an integer.

Real-valued sums (IoU, cross entropy, soft overlaps) are kept in fixed point. So a data set scored
in any number of pieces, processes or machines gives identical scores, which float sums would not.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

PAIR_UNIT = 2.0**-32
"""Resolution of sums over nuclei and images; holds 2e9 of them."""
PIXEL_UNIT = 2.0**-20
"""Resolution of sums over pixels, rounded once a tile; holds 8e12 of them."""


class Counts(ABC):  # noqa: B024 - abstract by being without fields
    """Base of the frozen dataclasses of int64 arrays that add field by field."""

    def __add__(self, other: Self) -> Self:
        arrays, others = _arrays(self), _arrays(other)
        for name, array in arrays.items():
            if array.shape != others[name].shape:
                raise ValueError(
                    f"counts of different label spaces cannot be added: {name} has shape "
                    f"{array.shape} and {others[name].shape}"
                )
        return type(self)(**{name: array + others[name] for name, array in arrays.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain lists for JSON; `from_dict` reads them back, exactly."""
        return {name: array.tolist() for name, array in _arrays(self).items()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Sequence[Any]]) -> Self:
        """Inverse of `to_dict`."""
        return cls(**{name: np.asarray(values, np.int64) for name, values in record.items()})


def _arrays(counts: Counts) -> dict[str, NDArray[np.int64]]:
    names = [field.name for field in fields(counts)]  # type: ignore[arg-type]
    return {name: getattr(counts, name) for name in names}


def to_fixed(values: ArrayLike, unit: float) -> NDArray[np.int64]:
    """Fixed-point integers of real numbers, to the nearest `unit`."""
    return np.rint(np.asarray(values, np.float64) / unit).astype(np.int64)


def ratio(numerator: ArrayLike, denominator: ArrayLike) -> NDArray[np.float64]:
    """Quotient, NaN where the denominator is 0: nothing was there to be scored."""
    below = np.asarray(denominator, np.float64)
    return np.asarray(numerator, np.float64) / np.where(below == 0, np.nan, below)


def nanmean(values: ArrayLike) -> float:
    """Mean of the numbers that are not NaN; NaN, without a warning, when there are none."""
    numbers = np.asarray(values, np.float64)
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.mean()) if numbers.size else float("nan")
