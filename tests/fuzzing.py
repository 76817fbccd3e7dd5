"""Damage done to files: bytes lost or changed, values of a JSON document replaced."""

import copy
import json


def mutate_bytes(content, rng):
    """Truncated, or with some bits flipped, mostly where the metadata is."""
    data = bytearray(content)
    if rng.random() < 0.3:
        return bytes(data[: rng.randrange(len(data))])
    span = len(data) if rng.random() < 0.5 else min(len(data), 600)
    for _ in range(rng.choice((1, 2, 8, 64))):
        data[rng.randrange(span)] ^= 1 << rng.randrange(8)
    return bytes(data)


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
