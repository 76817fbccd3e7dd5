"""Damage done to files: bytes lost or changed, values of a JSON document replaced."""

import copy
import json
from contextlib import contextmanager
from pathlib import Path

import pytest

no_hang = pytest.mark.timeout(60)
"""A reader that a damaged file sends round in circles fails its test, long before any other."""


def mutate_bytes(content, rng):
    """Truncated, or with some bits flipped, mostly where the metadata is."""
    data = bytearray(content)
    if rng.random() < 0.3:
        return bytes(data[: rng.randrange(len(data))])
    span = len(data) if rng.random() < 0.5 else min(len(data), 600)
    for _ in range(rng.choice((1, 2, 8, 64))):
        data[rng.randrange(span)] ^= 1 << rng.randrange(8)
    return bytes(data)


def mutate_end(content, rng):
    """As `mutate_bytes`, mostly at the end, where zip and Parquet have their metadata."""
    return mutate_bytes(content[::-1], rng)[::-1]


ODD_VALUES = (None, True, -1, 0, 3.5, 1e308, float("nan"), 2**70, "", "x" * 500, [], [[]], {}, [0])


def mutate_json(content, rng):
    """Still JSON, but one to four values of it are replaced or gone."""
    document = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        holder = document
        while True:
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            if not keys:
                break
            key = rng.choice(list(keys))
            if isinstance(holder[key], dict | list) and rng.random() < 0.8:
                holder = holder[key]
            elif rng.random() < 0.2:
                del holder[key]
                break
            else:
                holder[key] = copy.deepcopy(rng.choice(ODD_VALUES))
                break
    return json.dumps(document).encode()


def outcome(read, *args, **kwargs):
    """What `read` returns, or the ValueError it raises."""
    try:
        return read(*args, **kwargs)
    except ValueError as error:
        return error


def assert_clear(error, name):
    """One line that names the file."""
    text = str(error)
    assert name in text
    assert "\n" not in text


@contextmanager
def little_memory(spare_bytes=1 << 29):
    """Nobody gets much more memory than now: what a file says about its size is no reason to."""
    statm = Path("/proc/self/statm")
    if not statm.exists():  # no Linux
        yield
        return
    import resource

    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(statm.read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + spare_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def frugal_outcome(read, *args, **kwargs):
    """As `outcome`, of a reader that knows the size it wants and makes room for no other."""
    with little_memory():
        result = outcome(read, *args, **kwargs)
    assert not any(word in str(result) for word in ("allocate", "MemoryError")), result
    return result
