"""OME-Zarr: no code runs, no chunk grows beyond its size, and every codec listed is read right."""

import json

import numpy as np
import pytest

from histonuc.cli import run
from histonuc.slides import RegionError, open_slide

from ..fuzzing import little_memory
from .conftest import levels_of, write_zarr

zarr = pytest.importorskip("zarr", reason="an extra: pip install 'histonuc[zarr]'")
numcodecs = pytest.importorskip("numcodecs")


@pytest.fixture(scope="module")
def levels():
    return levels_of(300, 200, (1, 2))


def rewrite(path, change):
    """Change a JSON file."""
    facts = json.loads(path.read_text())
    change(facts)
    path.write_text(json.dumps(facts))


def whole(slide):
    return slide.read(0, 0, *slide.size, *slide.size)


def write_packed(path, level, version, codecs, chunk=64, shard=None):
    """An OME-Zarr of one level, packed in a given way."""
    write_zarr(path, [level], version=version)
    options = {"chunks": (1, 3, 1, chunk, chunk), "shards": shard and (1, 3, 1, shard, shard)}
    group = zarr.open_group(str(path), mode="r+", zarr_format=version)
    array = group.create_array(
        "0",
        shape=(1, 3, 1, *level.shape[:2]),
        dtype=level.dtype,
        compressors=codecs,
        overwrite=True,
        **options,
    )
    array[0, :, 0] = np.moveaxis(level, -1, 0)


V2_CODECS = {
    "blosc": numcodecs.Blosc(),
    "zlib": numcodecs.Zlib(),
    "gzip": numcodecs.GZip(),
    "zstd": numcodecs.Zstd(),
    "lz4": numcodecs.LZ4(),
    "none": None,
}
V3_CODECS = {
    "blosc": zarr.codecs.BloscCodec(),
    "gzip": zarr.codecs.GzipCodec(),
    "zstd": zarr.codecs.ZstdCodec(),
    "none": None,
}
CODECS = [(2, name) for name in V2_CODECS] + [(3, name) for name in V3_CODECS]


@pytest.mark.parametrize(("version", "name"), CODECS)
def test_every_listed_codec_is_read(tmp_path, levels, version, name):
    codec = (V2_CODECS if version == 2 else V3_CODECS)[name]
    write_packed(tmp_path / "a.zarr", levels[0], version, codec)
    with open_slide(tmp_path / "a.zarr") as slide:
        assert np.array_equal(whole(slide), levels[0])


@pytest.mark.parametrize("name", V3_CODECS)
def test_shards_are_read_and_their_absent_chunks_are_white(tmp_path, levels, name):
    level = levels[0].copy()
    level[:64, 64:128] = 0  # the writer leaves out what is zero all over
    path = tmp_path / "a.zarr"
    write_packed(path, level, 3, V3_CODECS[name], shard=128)
    level[:64, 64:128] = 255
    with open_slide(path) as slide:
        assert np.array_equal(whole(slide), level)
        assert np.array_equal(slide.read(70, 10, 100, 90, 100, 90), level[10:100, 70:170])
    (path / "0/c/0/0/0/0/1").unlink()  # a whole shard
    level[:128, 128:256] = 255
    with open_slide(path) as slide:
        assert np.array_equal(whole(slide), level)


def test_large_chunks_are_read_one_by_one(tmp_path, levels, monkeypatch):
    write_packed(tmp_path / "a.zarr", levels[0], 2, None)
    monkeypatch.setattr("histonuc.slides.zarr_reader.LARGE_PIECE_PIXELS", 1000)
    with open_slide(tmp_path / "a.zarr") as slide:
        assert np.array_equal(slide.read(50, 30, 200, 150, 200, 150), levels[0][30:180, 50:250])


def test_gzip_of_several_members_is_read(tmp_path, levels):
    import gzip

    path = tmp_path / "a.zarr"
    write_packed(path, levels[0], 2, V2_CODECS["gzip"])
    chunk = path / "0/0.0.0.0.0"
    content = gzip.decompress(chunk.read_bytes())
    chunk.write_bytes(gzip.compress(content[:99]) + gzip.compress(content[99:]))
    with open_slide(path) as slide:
        assert np.array_equal(whole(slide), levels[0])


def test_truth_is_white(tmp_path, levels):
    write_packed(tmp_path / "a.zarr", levels[0] > 60, 2, None)
    with open_slide(tmp_path / "a.zarr") as slide:
        assert np.array_equal(whole(slide), np.where(levels[0] > 60, 255, 0))


class Trap:
    """Leaves a file behind where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("array", ["0", "1"])
def test_a_pickled_array_is_refused_before_any_chunk_is_read(tmp_path, capsys, levels, array):
    path, sprung = tmp_path / "a.zarr", tmp_path / "sprung"
    write_zarr(path, levels)
    rewrite(
        path / array / ".zarray",
        lambda facts: facts.update(
            dtype="|O", filters=[{"id": "pickle", "protocol": 5}], compressor=None, fill_value=None
        ),
    )
    content = np.empty(1, object)
    content[0] = Trap(sprung)
    for chunk in (path / array).glob("[0-9]*"):
        chunk.write_bytes(numcodecs.Pickle().encode(content))
    for command in ("info", "predict"):
        out = ["--out", str(tmp_path / "out")] if command == "predict" else []
        assert run([command, str(path), *out]) != 0
        told = "".join(capsys.readouterr())
        assert f"array {array} is packed with 'pickle', expected one of" in told
    assert not sprung.exists()


@pytest.mark.parametrize(
    ("version", "change", "reason"),
    [
        (2, {"dtype": "|O"}, "holds '|O', expected numbers"),
        (2, {"dtype": [["a", "|O"]]}, "expected numbers"),
        (2, {"dtype": "|V8"}, "expected numbers"),
        (2, {"compressor": {"id": "pickle"}}, "packed with 'pickle'"),
        (2, {"filters": [{"id": "msgpack2"}]}, "packed with 'msgpack2'"),
        (2, {"filters": [{"id": "vlen-bytes"}]}, "packed with 'vlen-bytes'"),
        (3, {"codecs": [{"name": "numcodecs.pickle"}]}, "packed with 'numcodecs.pickle'"),
        (3, {"codecs": ["vlen-utf8"]}, "packed with 'vlen-utf8'"),
        (3, {"data_type": "string"}, "holds 'string', expected numbers"),
        (3, {"data_type": {"name": "numpy.object"}}, "expected numbers"),
    ],
)
def test_only_numbers_and_known_codecs_are_let_through(
    tmp_path, capsys, levels, version, change, reason
):
    path = tmp_path / "a.zarr"
    write_zarr(path, levels, version=version)
    name = ".zarray" if version == 2 else "zarr.json"
    rewrite(path / "1" / name, lambda facts: facts.update(change))
    assert run(["info", str(path)]) == 2
    assert reason in capsys.readouterr().err


def test_codecs_inside_shards_are_checked(tmp_path, levels):
    path = tmp_path / "a.zarr"
    write_packed(path, levels[0], 3, V3_CODECS["zstd"], shard=128)
    (codec,) = json.loads((path / "0/zarr.json").read_text())["codecs"]
    for place in ("codecs", "index_codecs"):
        inner = {**codec["configuration"], place: ["numcodecs.pickle"]}
        change = {"codecs": [{**codec, "configuration": inner}]}
        rewrite(path / "0/zarr.json", lambda facts, change=change: facts.update(change))
        with pytest.raises(ValueError, match=r"packed with 'numcodecs\.pickle'"):
            open_slide(path)


@pytest.mark.parametrize(("version", "name"), [one for one in CODECS if one[1] != "none"])
def test_a_chunk_that_unpacks_to_gigabytes_is_damage(tmp_path, levels, version, name):
    path = tmp_path / "a.zarr"
    codec = (V2_CODECS if version == 2 else V3_CODECS)[name]
    write_packed(path, levels[0], version, codec)
    bomb = {**V2_CODECS}[name].encode(bytes(300 << 20))
    chunk = path / ("0/0.0.0.0.0" if version == 2 else "0/c/0/0/0/0/0")
    chunk.write_bytes(bytes(bomb))
    with open_slide(path) as slide, little_memory(100 << 20):
        with pytest.raises(RegionError, match="cannot read the window 64 x 64"):
            slide.read(0, 0, 64, 64, 64, 64)
        assert np.array_equal(slide.read(64, 64, 64, 64, 64, 64), levels[0][64:128, 64:128])


@pytest.mark.parametrize("version", [2, 3])
def test_a_chunk_of_a_whole_slide_is_refused(tmp_path, capsys, levels, version):
    path = tmp_path / "a.zarr"
    write_zarr(path, levels, version=version)
    side, name = [1, 1, 1, 30_000, 30_000], ".zarray" if version == 2 else "zarr.json"
    grid = {"name": "regular", "configuration": {"chunk_shape": side}}
    rewrite(
        path / "0" / name,
        lambda facts: facts.update(
            {"shape": side} | ({"chunks": side} if version == 2 else {"chunk_grid": grid})
        ),
    )
    assert run(["info", str(path)]) == 2
    error = capsys.readouterr().err
    assert "chunks of 1 x 1 x 1 x 30000 x 30000" in error
    assert "expected at most 64 MiB; write it anew in smaller chunks" in error


def test_the_largest_chunk_allowed_fits_into_its_memory(tmp_path):
    side = 4700  # three channels of it are 63 MiB
    path = tmp_path / "a.zarr"
    write_packed(path, np.full((64, 64, 3), 7, np.uint8), 2, V2_CODECS["zstd"])
    shape = [1, 3, 1, side, side]
    rewrite(path / "0/.zarray", lambda facts: facts.update(shape=shape, chunks=shape))
    content = V2_CODECS["zstd"].encode(np.full(3 * side * side, 7, np.uint8))
    (path / "0/0.0.0.0.0").write_bytes(bytes(content))
    with open_slide(path) as slide, little_memory(400 << 20):
        assert (slide.read(9, 9, 99, 99, 99, 99) == 7).all()


def test_a_chunk_that_is_a_huge_file_is_not_read(tmp_path, levels):
    path = tmp_path / "a.zarr"
    write_packed(path, levels[0], 2, None)
    with (path / "0/0.0.0.0.0").open("wb") as stream:
        stream.truncate(4 << 30)  # takes no room on the disk
    with (
        open_slide(path) as slide,
        little_memory(1 << 26),
        pytest.raises(RegionError, match="too many for a chunk"),
    ):
        slide.read(0, 0, 64, 64, 64, 64)


@pytest.mark.parametrize("place", ["../b.zarr/0", "/tmp/b.zarr/0"])
def test_arrays_lie_inside_the_folder(tmp_path, levels, place):
    write_zarr(tmp_path / "a.zarr", levels)
    write_zarr(tmp_path / "b.zarr", levels)
    rewrite(
        tmp_path / "a.zarr/.zattrs",
        lambda facts: facts["multiscales"][0]["datasets"][1].update(path=place),
    )
    with pytest.raises(ValueError, match="expected a folder inside"):
        open_slide(tmp_path / "a.zarr")
