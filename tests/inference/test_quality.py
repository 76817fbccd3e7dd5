"""Flags of images that are unlike H&E, and none on those that are."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import skimage.data

from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.inference.quality import REASONS, flag_image, is_defocused

from ..slides.conftest import write_ome


def read(path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def hne(shape=(512, 512), seed=0) -> np.ndarray:
    """Purple discs with sharp edges and fine grain on pink."""
    rng = np.random.default_rng(seed)
    image = np.full((*shape, 3), (225, 170, 200), np.uint8)
    for x, y in rng.integers(0, shape, (shape[0] // 4, 2)).tolist():
        cv2.circle(image, (x, y), 9, (110, 80, 150), -1)
    return np.clip(image + rng.normal(0, 4, image.shape), 0, 255).astype(np.uint8)


def test_sharp_hne_and_glass_have_no_flag():
    assert flag_image(hne()) == ""
    assert flag_image(np.full((256, 256, 3), 240, np.uint8)) == ""
    assert flag_image(hne((3, 5))) in ("", "blurred")


def test_every_flag_is_raised():
    image = hne()
    green_pen = (image * (0.2, 0.9, 0.7)).astype(np.uint8)
    found = {
        "dark": 255 - np.clip(image.astype(int) + 60, 0, 255).astype(np.uint8),
        "grey": np.repeat(skimage.data.camera()[..., None], 3, axis=2),
        "brown": skimage.data.immunohistochemistry(),
        "colours": green_pen,
        "blurred": cv2.GaussianBlur(image, (0, 0), 3),
    }
    assert {name: flag_image(picture) for name, picture in found.items()} == {
        name: name for name in REASONS if name != "defocused"
    }


def test_far_out_of_focus_is_told_from_in_focus_and_from_nothing(shared_data):
    files = sorted(shared_data.glob("*/images/*"))[::24]
    assert len(files) > 20
    sharp = [read(path) for path in files]
    assert not any(is_defocused(image, 0.25, 0.25) for image in sharp)
    for sigma_px, share in ((8, 0.6), (12, 0.7)):
        blurred = [cv2.GaussianBlur(image, (0, 0), sigma_px) for image in sharp]
        assert np.mean([is_defocused(image, 0.25, 0.25) for image in blurred]) > share
    assert not is_defocused(blurred[0], 0.25, 0.7)  # a coarse slide, enlarged
    assert not is_defocused(np.full((900, 900, 3), 200, np.uint8), 0.25, 0.25)


def test_a_region_of_a_slide_out_of_focus_is_left_out_and_listed(tmp_path, pixel_model):
    image = hne((600, 1200))
    image[:, :600] = cv2.GaussianBlur(image[:, :600], (0, 0), 10)
    write_ome(tmp_path / "a.ome.tif", [image, image[::2, ::2]])
    (item,) = predict(
        [tmp_path / "a.ome.tif"], tmp_path / "out", PredictOptions(tile_px=400), model=pixel_model
    ).items
    left_out = [one.box_xyxy for one in item.flagged_regions if one.flag == "defocused"]
    assert left_out
    assert all(x0 < 600 for x0, _, _, _ in left_out)
    assert any("left out" in warning for warning in item.warnings)
    # All of this image is tissue; what is left out is not in the density.
    area_mm2 = sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in left_out) * (0.25 / 1000) ** 2
    assert item.left_out_mm2 == pytest.approx(area_mm2, rel=0.01)
    analysed_mm2 = item.tissue_mm2 - item.left_out_mm2
    assert item.density_per_mm2 == pytest.approx(item.num_nuclei / analysed_mm2)


def test_real_tissue_has_no_flag_until_it_is_blurred(shared_data):
    files = sorted(shared_data.glob("*/images/*"))[::12]
    assert len(files) > 40
    assert [path.name for path in files if flag_image(read(path))] == []
    sharp = [read(path) for path in files if "nuinsseg" not in str(path)]  # has JPEG's own grain
    flags = [flag_image(cv2.GaussianBlur(image, (0, 0), 3)) for image in sharp]
    assert flags.count("blurred") > 0.9 * len(flags)


@pytest.mark.parametrize("kind", ["brown", "blurred"])
def test_a_prediction_says_what_is_odd(tmp_path, kind):
    image = skimage.data.immunohistochemistry()
    if kind == "blurred":
        image = cv2.GaussianBlur(hne(), (0, 0), 3)
    cv2.imwrite(str(tmp_path / "odd.png"), image[..., ::-1])
    (item,) = predict([tmp_path / "odd.png"], tmp_path / "out", PredictOptions(mpp=0.25)).items
    assert {region.flag for region in item.flagged_regions} == {kind}
    assert any(REASONS[kind] in note for note in item.warnings)


def test_a_coarse_slide_is_not_called_blurred_and_a_blurred_one_is(shared_data):
    files = sorted(shared_data.glob("*/images/*"))[::24]

    def as_seen(path, sigma_px):
        """A tile of 0.25 mpp as a slide of 1 mpp shows it, enlarged again for the network."""
        picture = cv2.GaussianBlur(read(path), (0, 0), sigma_px) if sigma_px else read(path)
        coarse = cv2.resize(picture, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        return cv2.resize(coarse, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)

    assert any(flag_image(as_seen(path, 0)) == "blurred" for path in files)
    assert not any(flag_image(as_seen(path, 0), 4.0) == "blurred" for path in files)
    assert np.mean([flag_image(as_seen(path, 12), 4.0) == "blurred" for path in files]) > 0.4
