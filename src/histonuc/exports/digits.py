"""Numbers as JSON text, straight into a byte buffer: most of a GeoJSON file is digits.

Each function writes at position `at` of a uint8 buffer that is long enough and returns the position
after what it wrote.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from histonuc.compiled import compiled

NUMBER_BYTES = 24
"""No number written here is longer."""
_ZERO, _POINT, _MINUS, _E = 48, 46, 45, 101
_POWERS = 10.0 ** np.arange(16)  # exact
_MOST_WHOLE = 1e9

Buffer = NDArray[np.uint8]


@compiled
def put_text(out: Buffer, at: int, text: Buffer) -> int:
    """Copy bytes."""
    for i in range(len(text)):
        out[at + i] = text[i]
    return at + len(text)


@compiled
def put_whole(out: Buffer, at: int, value: int) -> int:
    """A whole number of 0 or more."""
    num_digits = 1
    rest = value // 10
    while rest > 0:
        num_digits += 1
        rest //= 10
    for i in range(at + num_digits - 1, at - 1, -1):
        out[i] = _ZERO + value % 10
        value //= 10
    return at + num_digits


@compiled
def put_scaled(out: Buffer, at: int, scaled: int, decimals: int) -> int:
    """``scaled / 10**decimals`` (0 or more), without zeros at the end of its fraction."""
    while decimals > 0 and scaled % 10 == 0:
        scaled //= 10
        decimals -= 1
    unit = 1
    for _ in range(decimals):
        unit *= 10
    at = put_whole(out, at, scaled // unit)
    if decimals == 0:
        return at
    out[at] = _POINT
    fraction = scaled % unit
    for i in range(at + decimals, at, -1):
        out[i] = _ZERO + fraction % 10
        fraction //= 10
    return at + 1 + decimals


@compiled
def put_coordinate(out: Buffer, at: int, value: float) -> int:
    """A coordinate in pixels, to 0.01."""
    if 0 <= value < _MOST_WHOLE and value == math.floor(value):  # most of them
        return put_whole(out, at, int(value))
    scaled = math.floor(abs(value) * 100 + 0.5)
    if value < 0 and scaled > 0:
        out[at] = _MINUS
        at += 1
    return put_scaled(out, at, scaled, 2)


@compiled
def put_number(out: Buffer, at: int, value: float) -> int:
    """A finite number to nine significant digits, which give every float32 back exactly."""
    size = abs(value)
    if size < 1e-300:  # also keeps the powers of ten below normal numbers out
        out[at] = _ZERO
        return at + 1
    if value < 0:
        out[at] = _MINUS
        at += 1
    exponent = math.floor(math.log10(size))
    if -5 <= exponent < 9:
        decimals = 8 - exponent
        return put_scaled(out, at, math.floor(size * _POWERS[decimals] + 0.5), decimals)
    if 9 <= exponent < 15:
        return put_whole(out, at, math.floor(size + 0.5))
    at = put_scaled(out, at, math.floor(size / 10.0**exponent * 1e8 + 0.5), 8)
    out[at] = _E
    at += 1
    if exponent < 0:
        out[at] = _MINUS
        at += 1
    return put_whole(out, at, abs(exponent))


@compiled
def put_uuid(out: Buffer, at: int, high: int, low: int) -> int:
    """128 bits in two halves as ``xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx``."""
    for i in range(32):
        if i in (8, 12, 16, 20):
            out[at] = _MINUS
            at += 1
        half = high if i < 16 else low
        nibble = (half >> np.uint64(60 - 4 * (i % 16))) & np.uint64(15)
        out[at] = nibble + (_ZERO if nibble < 10 else 87)
        at += 1
    return at
