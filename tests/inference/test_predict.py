import hashlib
import json
import random
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from histonuc.exports import read_table
from histonuc.exports.geojson import write_geojson
from histonuc.exports.geojson_reader import read_geojson
from histonuc.inference import scale, sources
from histonuc.inference import slide as slide_module
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.inference.results import ResultFolder
from histonuc.inspection import describe

from ..fuzzing import assert_clear, mutate_bytes, mutate_json, no_hang, outcome

FILES = {
    "nuclei.parquet",
    "nuclei.geojson",
    "overview.jpg",
    "detail.jpg",
    "density.jpg",
    "density_by_class.jpg",
    "summary.json",
}


OPTIONS = PredictOptions(mpp=0.25)


@pytest.fixture
def model(pixel_model):
    return pixel_model


@pytest.fixture
def image(tmp_path, blobs):
    path = tmp_path / "in" / "blobs.png"
    path.parent.mkdir()
    Image.fromarray(blobs).save(path)
    return path


def test_an_image_gives_a_folder_of_results(model, image, tmp_path):
    summary = predict([image], tmp_path / "out", PredictOptions(mpp=0.25, tile_px=256), model=model)
    folder = tmp_path / "out" / "blobs"
    assert {path.name for path in folder.iterdir()} == FILES
    nuclei = read_table(folder / "nuclei.parquet")
    assert len(nuclei) == len(read_geojson(folder / "nuclei.geojson")) == 300
    record = json.loads((folder / "summary.json").read_text())
    assert record["num_nuclei"] == 300
    assert record["classes"]["Neoplastic"]["num_nuclei"] == 150
    assert record["classes"]["Dead"] == {
        "num_nuclei": 0,
        "share": 0.0,
        "density_per_mm2": 0.0,
        "density_per_image_mm2": 0.0,
        "median_area_um2": None,
    }
    assert record["image_mm2"] == pytest.approx(700 * 500 * 0.25**2 * 1e-6)
    assert record["density_per_mm2"] == pytest.approx(300 / record["tissue_mm2"])
    assert record["density_per_image_mm2"] == pytest.approx(300 / (700 * 500 * 0.25**2 * 1e-6))
    assert set(record["seconds"]) == {
        "plan",
        "read",
        "network",
        "network_idle",
        "decode",
        "keep",
        "stitch",
        "write",
        "total",
    }
    assert record["seconds"]["total"] >= record["seconds"]["network"]
    assert record["levels_px"] == [[700, 500]]
    assert record["mpp_source"] == "given"
    assert not summary.failed
    assert any("300 nuclei" in line for line in summary.lines())
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary.to_dict()


@pytest.mark.parametrize("mpp", [0.25, 0.5, 0.2])
def test_places_are_in_level_0_pixels_and_areas_in_microns(model, image, tmp_path, mpp):
    (item,) = predict([image], tmp_path / "out", PredictOptions(mpp=mpp), model=model).items
    nuclei = read_table(tmp_path / "out" / "blobs" / "nuclei.parquet")
    dark = np.asarray(Image.open(image))[..., 0] < 120
    inside = dark[nuclei.centroid[:, 1].astype(int), nuclei.centroid[:, 0].astype(int)]
    assert inside.all()
    assert nuclei.area_px.sum() == pytest.approx(dark.sum(), rel=0.1)
    assert nuclei.area_um2.sum() == pytest.approx(dark.sum() * mpp**2, rel=0.1)
    assert len(nuclei) == pytest.approx(300, abs=10)
    assert item.mpp == mpp


def test_without_mpp_an_image_is_taken_at_the_models_with_a_warning(model, image, tmp_path):
    (item,) = predict([image], tmp_path / "out", model=model).items
    assert (item.mpp, item.mpp_source) == (0.25, "assumed")
    assert any("--mpp" in warning for warning in item.warnings)


def test_finished_inputs_are_not_done_again(model, image, tmp_path):
    out = tmp_path / "out"
    predict([image], out, OPTIONS, model=model)
    done = model.num_images
    again = predict([image], out, OPTIONS, model=model)
    assert model.num_images == done
    assert again.skipped == [str(image)]
    assert again.items[0].num_nuclei == 300
    predict([image], out, PredictOptions(mpp=0.25, overwrite=True), model=model)
    assert model.num_images == 2 * done
    predict([image], out, PredictOptions(mpp=0.25, margin_um=8), model=model)  # another setting
    assert model.num_images == 3 * done
    model.sha256 = "1" * 64  # another model
    predict([image], out, PredictOptions(mpp=0.25, margin_um=8), model=model)
    assert model.num_images == 4 * done
    Image.fromarray(np.asarray(Image.open(image))[:, ::-1]).save(image)  # another image
    predict([image], out, PredictOptions(mpp=0.25, margin_um=8), model=model)
    assert model.num_images == 5 * done


def test_an_unfinished_folder_is_done_again(model, image, tmp_path):
    out = tmp_path / "out"
    predict([image], out, OPTIONS, model=model)
    (out / "blobs" / "summary.json").write_text('{"half": ')
    assert not predict([image], out, OPTIONS, model=model).skipped


@no_hang
def test_a_mutated_result_is_done_again(model, image, tmp_path):
    out, folder = tmp_path / "out", tmp_path / "out" / "blobs"
    (item,) = predict([image], out, OPTIONS, model=model).items
    key, rng, finished = item.fingerprint, random.Random(0), ResultFolder(folder).read_finished
    content = {name: (folder / name).read_bytes() for name in ("summary.json", "nuclei.parquet")}
    assert finished(key) == item
    for number in range(100):
        damaged = (mutate_json if number % 2 else mutate_bytes)(content["summary.json"], rng)
        (folder / "summary.json").write_bytes(damaged)
        assert finished(key) in (None, item)
        assert sources.name_folders([image], out)[0].path.name in ("blobs", "blobs-2")
        facts = outcome(describe, folder)
        if isinstance(facts, ValueError):
            assert_clear(facts, "blobs")
    (folder / "summary.json").write_bytes(content["summary.json"].replace(b": 300,", b": 301,", 1))
    assert "changed since" in describe(folder).facts["note"]
    (again,) = predict([image], out, OPTIONS, model=model).items
    assert again.num_nuclei == 300
    assert "note" not in describe(folder).facts
    for size in (0, 9, len(content["nuclei.parquet"]) - 1):
        (folder / "nuclei.parquet").write_bytes(content["nuclei.parquet"][:size])
        assert finished(key) is None
    (folder / "nuclei.parquet").write_bytes(content["nuclei.parquet"])
    pq.write_table(pq.read_table(folder / "nuclei.parquet")[:-1], folder / "nuclei.parquet")
    assert finished(key) is None  # sound, but not what was written
    assert not predict([image], out, OPTIONS, model=model).skipped
    assert (folder / "nuclei.parquet").read_bytes() == content["nuclei.parquet"]


def test_parts_that_a_run_killed_at_its_end_left_are_removed(model, image, tmp_path):
    predict([image], tmp_path / "out", OPTIONS, model=model)
    (tmp_path / "out" / "blobs" / "parts").mkdir()
    assert predict([image], tmp_path / "out", OPTIONS, model=model).skipped
    assert not (tmp_path / "out" / "blobs" / "parts").exists()


def test_one_bad_file_does_not_stop_the_others(model, image, tmp_path):
    (image.parent / "a-bad.png").write_bytes(b"no image")
    (image.parent / "notes.txt").write_text("not an input")
    summary = predict([image.parent], tmp_path / "out", OPTIONS, model=model)
    assert [item.num_nuclei for item in summary.items] == [300]
    (failure,) = summary.failed
    assert failure["source"].endswith("a-bad.png")
    assert "damaged" in failure["error"]
    header, row, *_, total, failed, reason = summary.lines()
    assert header.split() == ["input", "nuclei", "mm²", "per", "mm²", "seconds", "mm²/s"]
    assert row.split()[:2] == ["blobs.png", "300"]
    assert total.startswith("1 input, 300 nuclei in all")
    assert failed == "1 failed:"
    assert "a-bad.png is damaged" in reason
    again = predict([image.parent], tmp_path / "out", OPTIONS, model=model)
    assert "finished before" in again.lines()[1]
    recorded = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert recorded["failed"] == summary.failed


def test_an_input_that_is_gone_since_does_not_stop_the_others(model, image, tmp_path):
    link = image.parent / "a-link.png"
    link.symlink_to(tmp_path / "elsewhere.png")
    Image.open(image).save(tmp_path / "elsewhere.png")
    assert len(predict([image.parent], tmp_path / "out", OPTIONS, model=model).items) == 2
    (tmp_path / "elsewhere.png").unlink()
    summary = predict([image.parent], tmp_path / "out", OPTIONS, model=model)
    assert len(summary.skipped) == 1
    assert [failure["source"] for failure in summary.failed] == [str(link)]


def test_the_summary_of_all_may_fail_and_is_told_all_the_same(model, image, tmp_path):
    (tmp_path / "out" / "summary.json").mkdir(parents=True)
    summary = predict([image], tmp_path / "out", OPTIONS, model=model)
    assert len(summary.items) == 1
    assert summary.failed[0]["source"].endswith("summary.json")


@pytest.mark.parametrize(("mpp", "notes"), [(None, ["another scale"]), (0.25, [])])
def test_an_image_of_assumed_scale_is_probed(model, image, tmp_path, monkeypatch, mpp, notes):
    monkeypatch.setattr(
        slide_module, "probe_scale", lambda *asked: ["another scale"] * bool(asked[-1])
    )
    monkeypatch.setattr(scale, "_LEAST", 1)
    (item,) = predict([image], tmp_path / "out", PredictOptions(mpp=mpp), model=model).items
    assert [note for note in item.warnings if "scale" in note] == notes


def test_geojson_is_what_export_makes_of_the_table(model, image, tmp_path):
    predict([image], tmp_path / "out", PredictOptions(mpp=0.25, tile_px=192), model=model)
    folder = tmp_path / "out" / "blobs"
    write_geojson(folder / "nuclei.parquet", tmp_path / "again.geojson")
    assert (tmp_path / "again.geojson").read_bytes() == (folder / "nuclei.geojson").read_bytes()


def test_geojson_may_be_left_out(model, image, tmp_path):
    file = tmp_path / "out" / "blobs" / "nuclei.geojson"
    predict([image], tmp_path / "out", PredictOptions(mpp=0.25, geojson=False), model=model)
    assert not file.exists()
    images = model.num_images
    assert predict(
        [image], tmp_path / "out", OPTIONS, model=model
    ).skipped  # nothing is analysed again for it
    assert model.num_images == images
    write_geojson(file.with_name("nuclei.parquet"), tmp_path / "again.geojson")
    assert file.read_bytes() == (tmp_path / "again.geojson").read_bytes()


def test_a_cut_geojson_is_written_again(model, image, tmp_path):
    file = tmp_path / "out" / "blobs" / "nuclei.geojson"
    predict([image], tmp_path / "out", OPTIONS, model=model)
    whole = file.read_bytes()
    for damage in (lambda: file.write_bytes(whole[:100]), file.unlink):
        damage()
        assert predict([image], tmp_path / "out", OPTIONS, model=model).skipped
        assert file.read_bytes() == whole


def test_a_source_is_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "_BLOCK_BYTES", 4)
    monkeypatch.setattr(sources, "_BLOCKS", 3)
    file = tmp_path / "slide"
    hashes = set()
    for content in (b"", b"abcd", b"abcdefghijk", b"abcdefghijklmnop", b"abcdefghijklmnoX"):
        file.write_bytes(content)
        hashes.add(sources.content_sha256(file))
    assert len(hashes) == 5
    file.write_bytes(b"abcdefghijk")
    whole = hashlib.sha256((11).to_bytes(8, "little") + b"abcdefghijk").hexdigest()
    assert sources.content_sha256(file) == whole


def test_what_nobody_foresaw_does_not_stop_the_others_either(model, image, tmp_path, monkeypatch):
    Image.fromarray(np.asarray(Image.open(image))[:300]).save(image.parent / "a-small.png")
    maps = model.maps

    def fail_on_small(images):
        if images.shape[1] == 300:
            raise RuntimeError("the network ran out of memory")
        return maps(images)

    monkeypatch.setattr(model, "maps", fail_on_small)
    summary = predict([image.parent], tmp_path / "out", OPTIONS, model=model)
    assert [item.num_nuclei for item in summary.items] == [300]
    assert summary.failed[0]["error"] == "RuntimeError: the network ran out of memory"


def test_results_among_the_images_are_not_taken_for_images(model, image, tmp_path):
    for _ in range(2):
        summary = predict([image.parent], image.parent, OPTIONS, model=model)
        assert [item.source for item in summary.items] == [str(image)]
    assert summary.skipped == [str(image)]


def test_two_runs_keep_inputs_of_one_name_apart(model, image, tmp_path, make_blobs):
    other = tmp_path / "other" / "blobs.png"
    other.parent.mkdir()
    Image.fromarray(make_blobs((300, 200), 20)).save(other)
    predict([image], tmp_path / "out", OPTIONS, model=model)
    predict([other], tmp_path / "out", OPTIONS, model=model)
    assert len(read_table(tmp_path / "out" / "blobs" / "nuclei.parquet")) == 300
    assert len(read_table(tmp_path / "out" / "blobs-2" / "nuclei.parquet")) == 20


def test_an_image_much_coarser_than_the_model_is_warned_about(model, image, tmp_path):
    Image.fromarray(np.asarray(Image.open(image))[:60, :60]).save(image)
    for mpp, expected in ((0.5, False), (0.6, True)):
        (item,) = predict([image], tmp_path / "out", PredictOptions(mpp=mpp), model=model).items
        assert any("coarser" in warning for warning in item.warnings) == expected


def test_blank_images_give_valid_empty_results(model, tmp_path):
    Image.new("RGB", (90, 70), (244, 244, 244)).save(tmp_path / "blank.png")
    (item,) = predict([tmp_path / "blank.png"], tmp_path / "out", OPTIONS, model=model).items
    assert item.num_nuclei == 0
    assert item.density_per_mm2 is None
    assert model.num_images == 0
    assert len(read_table(tmp_path / "out" / "blank" / "nuclei.parquet")) == 0
    found = {path.name for path in (tmp_path / "out" / "blank").iterdir()}
    assert found == FILES - {"detail.jpg", "density.jpg", "density_by_class.jpg"}  # it is small


def test_tiny_images_work(model, tmp_path):
    for size in ((1, 1), (5, 300)):
        Image.new("RGB", size, (200, 120, 170)).save(tmp_path / "tiny.png")
        summary = predict(
            [tmp_path / "tiny.png"], tmp_path / "out", PredictOptions(mpp=0.3), model=model
        )
        assert not summary.failed


def test_impossible_wishes_are_refused(model, image, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="nothing at"):
        predict([tmp_path / "none.png"], tmp_path / "out", model=model)
    with pytest.raises(ValueError, match="no images or slides"):
        predict([empty], tmp_path / "out", model=model)
    for mpp in (0, -0.25, 40, float("nan"), float("inf")):  # 40: the magnification, not the mpp
        with pytest.raises(ValueError, match=r"--mpp.*0\.25 for 40x"):
            predict([image], tmp_path / "out", PredictOptions(mpp=mpp), model=model)
    for tile_px in (-5, 0, 143):
        with pytest.raises(ValueError, match=r"--tile-px.*144"):
            predict([image], tmp_path / "out", PredictOptions(tile_px=tile_px), model=model)
    for margin_um in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="--margin-um"):
            predict([image], tmp_path / "out", PredictOptions(margin_um=margin_um), model=model)
    with pytest.raises(ValueError, match="is a file"):
        predict([image], image, model=model)
    with pytest.raises(ValueError, match="nothing can be written there"):
        predict([image], image / "out", model=model)
    with pytest.raises(ValueError, match="--batch-size"):
        predict([image], tmp_path / "out", PredictOptions(batch_size=0), model=model)
    with pytest.raises(ValueError, match="got none"):
        predict([], tmp_path / "out", model=model)


def test_real_slides(model, shared_slides, tmp_path):
    model.spec = replace(model.spec, mpp=1.0)  # coarse, so that the test is quick
    names = ["cmu-1-small-region.svs", "tcga-cr-7395-01a-01-ts1.svs", "no-tissue-green-pen.png"]
    summary = predict(
        [shared_slides / name for name in names], tmp_path, PredictOptions(tile_px=256), model=model
    )
    slide, pen = summary.items
    assert slide.mpp == pytest.approx(0.499)
    assert slide.tiles_analysed > 0
    assert 1 < slide.network_ratio < 2
    assert slide.num_nuclei > 500
    assert 0.3 * slide.image_mm2 < slide.tissue_mm2 < 0.45 * slide.image_mm2
    assert pen.num_nuclei == 0
    (failure,) = summary.failed
    assert "tcga" in failure["source"]
    assert "--mpp" in failure["error"]
