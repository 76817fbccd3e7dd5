"""Memory is bounded, and nothing is made twice."""

import threading
import time

import pytest

from histonuc.viewing.caches import BoundedCache


def test_the_longest_unused_goes_first() -> None:
    cache: BoundedCache[str, bytes] = BoundedCache(10, len)
    for name in "abc":
        cache.get(name, lambda: bytes(4))
        cache.get("a", lambda: pytest.fail("it was there"))
    assert ("a" in cache, "b" in cache, "c" in cache) == (True, False, True)
    assert (len(cache), cache.num_bytes) == (2, 8)
    cache.clear()
    assert (len(cache), cache.num_bytes) == (0, 0)


def test_the_last_stays_however_large_it_is() -> None:
    cache: BoundedCache[int, bytes] = BoundedCache(10, len)
    for number in range(3):
        assert len(cache.get(number, lambda: bytes(100))) == 100
    assert (len(cache), cache.num_bytes) == (1, 100)


def test_many_who_ask_at_once_get_one_value() -> None:
    cache: BoundedCache[str, object] = BoundedCache(10, lambda value: 1)
    made, found = [], []

    def make() -> object:
        made.append(1)
        time.sleep(0.05)
        return object()

    threads = [
        threading.Thread(target=lambda: found.append(cache.get("a", make))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(made), len(set(map(id, found)))) == (1, 1)


def test_what_fails_is_tried_again() -> None:
    cache: BoundedCache[str, int] = BoundedCache(10, lambda value: 1)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 // 0)
    assert cache.get("a", lambda: 7) == 7


def test_decoded_outlines_stay_within_their_bound(table, monkeypatch) -> None:
    sizes = [table.rings(group).vertices.nbytes for group in range(len(table.starts) - 1)]
    assert len(sizes) >= 4
    assert table._rings.num_bytes >= sum(sizes)
    monkeypatch.setattr(table._rings, "_max_bytes", max(sizes) + 1)
    for group in range(len(sizes)):
        table.rings(group)
        table._rings.get(-1, lambda: table.rings(0))
        assert table._rings.num_bytes <= 2 * max(sizes)
