"""A slide whose pixels are half or twice as large as stated is noticed."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from histonuc import cli
from histonuc.inference.options import PredictOptions
from histonuc.inference.plan import make_plan
from histonuc.inference.predict import predict
from histonuc.inference.progress import Tally
from histonuc.inference.scale import DIAMETER_UM, Scale, choose_probes, judge_scale, probe_scale
from histonuc.models.loading import load_model
from histonuc.slides import PlainImage
from histonuc.taxonomy import PANNUKE


@pytest.mark.parametrize(
    ("size", "said"), [(1.0, ""), (0.5, "0.5 microns, not 0.25"), (2.0, "0.12 microns, not 0.25")]
)
def test_another_scale_than_stated_is_noticed(shared_data, size, said) -> None:
    files = sorted((shared_data / "monuseg/images").glob("*.jpg"))[:4]
    images = [np.asarray(cv2.imread(str(file)))[..., ::-1] for file in files]
    mosaic = np.concatenate([np.concatenate(images[:2], 1), np.concatenate(images[2:], 1)])
    mosaic = cv2.resize(mosaic, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    slide, model = PlainImage(np.ascontiguousarray(mosaic), 0.25), load_model()
    plan = make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, tile_px=512, margin_um=12)
    assumed = Scale(mpp_xy=(0.25, 0.25), source="assumed")
    notes = probe_scale(slide, plan, model, choose_probes(plan, assumed))
    assert [said in note for note in notes] == [True] * bool(said)


def test_too_little_tissue_tells_nothing(pixel_model, blobs) -> None:
    slide = PlainImage(blobs, 0.25)
    plan = make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, tile_px=1024, margin_um=8)
    for source in ("assumed", "file"):
        assert choose_probes(plan, Scale(mpp_xy=(0.25, 0.25), source=source)) == []
    assert probe_scale(slide, plan, pixel_model, []) == ()
    assert pixel_model.num_images == 0


@pytest.mark.parametrize(("size", "is_noticed"), [(1.0, False), (0.5, True), (2.0, True)])
def test_a_single_image_of_another_scale_is_noticed(
    shared_data, tmp_path, size, is_noticed
) -> None:
    picture = cv2.imread(str(sorted((shared_data / "monuseg/images").glob("*.jpg"))[2]))
    picture = cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    (item,) = predict([tmp_path / "a.png"], tmp_path / "out", PredictOptions(mpp=0.25)).items
    assert any("give --mpp" in warning for warning in item.warnings) == is_noticed


def discs(num: int, diameter_um: float) -> Tally:
    """A tally of nuclei of one size."""
    tally = Tally(label_space=PANNUKE, mpp=0.25)
    tally._class_index.append(np.zeros(num, np.int8))
    tally._area_px.append(np.full(num, np.pi / 4 * (diameter_um / 0.25) ** 2, np.float32))
    return tally


@pytest.fixture
def judged(pixel_model, blobs):
    """What is said of so many nuclei of one diameter in µm."""
    slide = PlainImage(blobs, 0.25)
    plan = make_plan(slide, mpp_xy=(0.25, 0.25), model_mpp=0.25, tile_px=1024, margin_um=8)

    def judge(diameter_um: float, num: int, *, is_probed: bool = False) -> tuple[str, ...]:
        tally = discs(num, diameter_um)
        return judge_scale(slide, plan, pixel_model, tally, is_probed=is_probed)

    return judge


def test_usual_and_few_nuclei_of_a_small_image_cost_no_pass(judged, pixel_model) -> None:
    assert judged(6.0, 1000) == ()
    assert judged(3.5, 10) == ()
    assert judged(3.5, 1000, is_probed=True) == ()
    assert pixel_model.num_images == 0
    judged(3.5, 1000)
    assert pixel_model.num_images == 2  # as it is, and twice as large


def test_sizes_that_no_tissue_has(judged) -> None:
    low, high = DIAMETER_UM
    assert judged(low * 1.1, 1000, is_probed=True) == judged(high * 0.9, 1000, is_probed=True) == ()
    for diameter_um in (low * 0.9, high * 1.1):
        (note,) = judged(diameter_um, 1000)
        assert "really 0.25 microns" in note
        assert "--mpp" in note
    assert judged(high * 2, 3) == ()


def said_of(path: Path, out: Path, capsys, *words: str) -> tuple[int, str]:
    """Exit code of `histonuc predict`, and everything it says, in one line."""
    code = cli.run(["predict", str(path), "--out", str(out), *words])
    return code, " ".join("".join(capsys.readouterr()).split())


@pytest.mark.parametrize("mpp", [0.25, 0.5, 1.0])
def test_a_slide_without_a_scale_is_refused_with_the_likely_one(
    shared_data, tmp_path, capsys, mpp
) -> None:
    files = sorted((shared_data / "monuseg/images").glob("*.jpg"))[:2]
    images = [cv2.imread(str(file))[: round(2000 * mpp)] for file in files]
    mosaic = np.concatenate(images, 1)[:1000, : round(4000 * mpp)]
    shrunk = cv2.resize(mosaic, None, fx=0.25 / mpp, fy=0.25 / mpp, interpolation=cv2.INTER_AREA)
    Image.fromarray(shrunk[..., ::-1]).save(tmp_path / "a.tif")
    code, said = said_of(tmp_path / "a.tif", tmp_path / "out", capsys)
    assert code == 1
    assert f"judging by its nuclei they are about {mpp:g}" in said
    assert f"give --mpp {mpp:g}, or" in said
    assert ("coarse for a model of 0.25" in said) == (mpp == 1.0)
    code, said = said_of(tmp_path / "a.tif", tmp_path / "out", capsys, "--mpp", f"{mpp:g}")
    assert code == 0
    assert "look as if" not in said  # what it told us to give is not doubted then


def test_a_slide_without_nuclei_says_nothing_of_its_scale(tmp_path, capsys) -> None:
    Image.new("RGB", (300, 200), (240, 240, 240)).save(tmp_path / "a.tif")
    code, said = said_of(tmp_path / "a.tif", tmp_path / "out", capsys)
    assert code == 1
    assert "give --mpp, e.g. --mpp 0.25 for 40x" in said
