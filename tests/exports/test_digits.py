import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.exports.digits import NUMBER_BYTES, put_coordinate, put_number, put_uuid, put_whole


def text(put, *values):
    out = np.full(2 * NUMBER_BYTES, ord("~"), np.uint8)
    end = put(out, 3, *values)
    assert bytes(out[end:]) == b"~" * (2 * NUMBER_BYTES - end), "wrote past its end"
    assert end - 3 <= NUMBER_BYTES or put is put_uuid
    return bytes(out[3:end]).decode()


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_have_nine_digits(value):
    assert float(json.loads(text(put_number, value))) == pytest.approx(value, rel=1e-8, abs=1e-300)


@given(st.floats(2**-100, 2**100, width=32) | st.floats(0, 1, width=32))
def test_float32_comes_back_exactly(value):
    assert np.float32(json.loads(text(put_number, value))) == np.float32(value) or value < 1e-30


@given(st.floats(-1e7, 1e7))
def test_coordinates_are_rounded_to_hundredths(value):
    written = text(put_coordinate, value)
    assert abs(json.loads(written) - value) <= 0.005 + 1e-9
    assert len(written.partition(".")[2]) <= 2


@pytest.mark.parametrize(
    ("put", "value", "expected"),
    [
        (put_number, 0.0, "0"),
        (put_number, -2.5, "-2.5"),
        (put_number, 1e-5, "0.00001"),
        (put_number, 0.9999999999, "1"),
        (put_number, 123456789012.0, "123456789012"),
        (put_number, 1.5e20, "1.5e20"),
        (put_number, 3.25e-9, "3.25e-9"),
        (put_coordinate, -0.001, "0"),
        (put_coordinate, -12.5, "-12.5"),
        (put_coordinate, 1000.0, "1000"),
        (put_coordinate, 0.995, "1"),
        (put_whole, 0, "0"),
        (put_whole, 1200, "1200"),
    ],
)
def test_numbers_are_written_as_people_do(put, value, expected):
    assert text(put, value) == expected


def test_uuid_is_hexadecimal():
    high, low = np.uint64(0x0123456789AB4DEF), np.uint64(0x8000000000000010)
    assert text(put_uuid, high, low) == "01234567-89ab-4def-8000-000000000010"
