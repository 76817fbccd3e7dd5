"""Test-time flips: maps of mirrored images come back where and as they were."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from histonuc.models.mirrored import MirroredModel
from histonuc.models.model import ModelSpec
from histonuc.models.outputs import Outputs
from histonuc.nuclei import TileLabels
from histonuc.representations import build_representation
from histonuc.taxonomy import LabelSpace

MIRRORINGS = [(False, False), (False, True), (True, False), (True, True)]


def encoded(name: str, instances: np.ndarray) -> np.ndarray:
    """What a perfect network of two classes would say, (1, C, H, W)."""
    representation = build_representation(name, 2)
    labels = TileLabels(
        instances=instances,
        candidates=np.ones(4, np.int64),
        ignore=np.zeros(instances.shape, bool),
    )
    geometry = representation.encode(labels)["geometry"]
    nucleus = (instances > 0).astype(np.float32)[None]
    classes = np.stack([np.full(instances.shape, 0.75), np.full(instances.shape, 0.25)])
    return np.concatenate([nucleus, geometry, classes]).astype(np.float32)[None]


def discs() -> np.ndarray:
    """Nuclei with a pixel at their centre, one of them at the edge."""
    y, x = np.mgrid[:48, :64]
    labels = np.zeros((48, 64), np.int32)
    for number, (row, column, radius) in enumerate([(12, 14, 6), (30, 40, 9), (47, 10, 5)], 1):
        labels[(y - row) ** 2 + (x - column) ** 2 <= radius**2] = number
    return labels


@pytest.mark.parametrize("name", ["offset", "hover", "star"])
@pytest.mark.parametrize(("down", "right"), MIRRORINGS)
def test_a_mirrored_truth_is_the_truth_of_the_mirrored(name, down, right):
    labels = discs()
    mirrored = np.ascontiguousarray(np.flip(labels, [i for i, f in enumerate((down, right)) if f]))
    representation = build_representation(name, 2)
    found = representation.mirror(encoded(name, labels), down=down, right=right)
    tolerance = 1.01 if name == "offset" else 0.3  # the centre is a pixel; rays are rounded
    np.testing.assert_allclose(found, encoded(name, mirrored), atol=tolerance)
    again = representation.mirror(found, down=down, right=right)
    np.testing.assert_array_equal(again, encoded(name, labels))


@pytest.mark.parametrize("name", ["offset", "hover", "star", "semantic"])
def test_the_mean_is_over_four_mirrorings(name):
    """A network that sees only the pixel itself says the same of every mirroring, but geometry."""
    representation = build_representation(name, 2)
    seen = []

    def maps(images):
        seen.append(images[0, ..., 0].copy())
        grey = images[:, None, ..., 0].astype(np.float32) / 255
        return np.repeat(grey, representation.channels, axis=1)

    model = SimpleNamespace(
        name="n",
        sha256="s",
        spec=ModelSpec(
            trunk="unet",
            representation=name,
            label_space=LabelSpace(name="two", classes=("a", "b")),
            mpp=0.25,
        ),
        representation=representation,
        precision="fp32",
        trust=None,
        outputs=lambda images: Outputs(maps=maps(images)),
    )
    image = np.random.default_rng(0).integers(0, 256, (1, 9, 13, 3), np.uint8)
    found = MirroredModel(model).maps(image)
    expected = image[0, ..., 0].astype(np.float32) / 255
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-6)
    np.testing.assert_allclose(found[0, -1], expected, atol=1e-6)
    assert len({view.tobytes() for view in seen}) == 4
    if name in ("offset", "hover"):  # opposite vectors cancel
        np.testing.assert_allclose(found[0, 1:3], 0, atol=1e-6)
