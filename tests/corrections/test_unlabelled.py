"""A person's own tissue without labels lies in the store, and nothing is taught or scored there."""

from itertools import combinations

import numpy as np
import pytest

from histonuc import cli
from histonuc.corrections import CorrectionLog
from histonuc.data.store import Store
from histonuc.evaluation import TileSelection

from ..viewing.made_result import draw_nuclei, write_result, write_slide
from .drawn import maker, square

SIDE = 512
"""128 µm at the slide's 0.25 mpp."""
HELD_OUT, CLASSIFIED, DELETED = 7, 8, 9


@pytest.fixture
def out(tmp_path, monkeypatch):
    """Two results of 2500 x 1700 px with 300 nuclei and a complete field each."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # remembers places of slides
    for number in range(2):
        folder = tmp_path / f"out/{number}"
        folder.mkdir(parents=True)
        slide = write_slide(tmp_path / f"slide{number}.png")
        write_result(folder, slide, draw_nuclei(300, seed=number))
        make = maker(folder)
        CorrectionLog(folder).append(
            make("field", ring=square(600, 600, 256), complete=True),
            make("hold_out", HELD_OUT),
            make("classify", CLASSIFIED, **{"class": "Mitosis"}),
            make("delete", DELETED),
        )
    return tmp_path / "out"


def prepare(out, *more):
    data = out.parent / "data"
    line = ["prepare", "corrections", str(out), "--out", str(data), "--overwrite", *more]
    assert cli.run(line) == 0
    return Store.open(data)


def boxes(store, tiles):
    """Slide, left, top, right and bottom of each tile, by its name."""
    for tile in tiles:
        slide, x, y = map(int, store.name(tile).split("-"))
        height, width = store.size(tile)
        yield slide, x, y, x + width, y + height


def meet(one, other):
    a, b = np.array(one[1:]), np.array(other[1:])
    return one[0] == other[0] and (a[:2] < b[2:]).all() and (b[:2] < a[2:]).all()


def test_they_lie_beside_all_that_is_labelled_or_held_out(out) -> None:
    store = prepare(out, "--unlabelled", "8", "--num-folds", "2")
    tiles = store.select_unlabelled().tolist()
    places = list(boxes(store, tiles))
    assert [slide for slide, *_ in places] == [0, 1] * 4
    assert [store.fold(tile) for tile in tiles] == [1, 2] * 4
    assert not any(meet(*pair) for pair in combinations(places, 2))
    for slide in range(2):
        taken = [(slide, 600, 600, 856, 856)]
        for number in (HELD_OUT, CLASSIFIED):
            ring = np.array(maker(out / str(slide))("hold_out", number).nuclei[0].ring)
            taken.append((slide, *ring.min(0), *ring.max(0)))
        assert not any(meet(one, place) for one in taken for place in places)
    for tile, (_, x, y, *_) in zip(tiles, places, strict=True):
        labels, image = store.labels(tile), store.image(tile)
        assert image.shape == (SIDE, SIDE, 3)
        assert image[5, 9].tolist() == [(x + 9) // 16, (y + 5) // 16, 128]
        assert labels.instances.max() == 0
        assert labels.candidates.tolist() == [0]
        assert labels.ignore.all()
        assert not labels.class_only
        with pytest.raises(ValueError, match="has no labels: its pixels are neither nucleus nor"):
            store.instances(tile)
    again = prepare(out, "--unlabelled", "8", "--num-folds", "2")
    assert list(boxes(again, tiles)) == places


def test_they_are_spread_over_the_slide_and_as_many_as_there_is_room_for(out) -> None:
    store = prepare(out, "--unlabelled", "100")
    places = list(boxes(store, store.select_unlabelled()))
    assert 8 < len(places) < 2 * 2500 * 1700 / SIDE**2
    for slide in range(2):
        left, top = np.array([one[1:3] for one in places if one[0] == slide]).T
        assert np.ptp(left) > 1200
        assert np.ptp(top) > 600
        assert (left.min(), top.min()) >= (0, 0)
        assert (left.max(), top.max()) <= (2500 - SIDE, 1700 - SIDE)
    assert len(prepare(out, "--unlabelled", "0").select_unlabelled()) == 0


def test_nothing_scores_them_and_they_are_counted_apart(out, capsys) -> None:
    store = prepare(out, "--unlabelled", "6", "--num-folds", "2", "--json")
    report = capsys.readouterr().out
    unlabelled, labelled = store.select_unlabelled(), store.select(labels=None)
    assert sorted([*unlabelled, *labelled]) == list(range(len(store)))
    assert TileSelection().find_tiles(store).tolist() == store.select().tolist()
    assert not set(TileSelection().find_tiles(store)) & set(unlabelled)
    assert '"tiles without labels": 3' in report
    assert cli.run(["info", str(store.path)]) == 0
    told = capsys.readouterr().out.split()
    assert told[told.index("unlabelled") + 1] == "6"


def test_without_anything_to_teach_there_is_no_store(out, capsys) -> None:
    for folder in out.iterdir():
        log = CorrectionLog(folder)
        log.path.unlink()
        log.append(maker(folder)("delete", DELETED))
    line = ["prepare", "corrections", str(out), "--out", str(out.parent / "data")]
    assert cli.run(line) == 2
    assert "teach nothing yet" in capsys.readouterr().err
    assert cli.run([*line, "--unlabelled", "-1"]) == 2
    assert "--unlabelled -1: expected 0 or more" in capsys.readouterr().err
