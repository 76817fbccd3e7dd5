"""Images at another size: nothing that was in the image is skipped."""

import numpy as np
import pytest

from histonuc.data.resampling import AREA_FROM, resample


@pytest.mark.parametrize("factor", [1.02, 1.25, AREA_FROM, 1.47, 2, 3])
def test_every_pixel_is_seen_when_images_shrink(factor) -> None:
    side = 60
    small = round(side / factor)
    for place in range(20, 32):
        image = np.zeros((side, side, 3), np.uint8)
        image[place, 45 - place] = 255
        found = resample(image, small, small).astype(int)
        assert found.sum() > 0
        y, x = (found.sum(2) * np.mgrid[:small, :small]).sum((1, 2)) / found.sum()
        # Outer corners coincide, so places scale about them, to half a pixel.
        assert abs((y + 0.5) * side / small - (place + 0.5)) < factor / 2 + 0.1
        assert abs((x + 0.5) * side / small - (45.5 - place)) < factor / 2 + 0.1


def test_a_flat_image_stays_as_it_is_and_the_same_size_is_no_work() -> None:
    image = np.full((40, 30, 3), (200, 120, 160), np.uint8)
    for size in ((24, 32), (15, 20), (60, 80)):
        assert (resample(image, *size) == image[0, 0]).all()
    assert resample(image, 30, 40).tolist() == image.tolist()
