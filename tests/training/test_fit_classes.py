"""tools/fit_classes.py: classes fitted anew to a network, whose outlines stay as they are."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import torch

from histonuc.data.resampling import at_mpp, resample_labels
from histonuc.data.store import Store
from histonuc.models.engines import TorchModel
from histonuc.models.model import ModelSpec
from histonuc.models.zoo import build_network, save_network
from histonuc.taxonomy import PANNUKE

TOOL = Path(__file__).parents[2] / "tools" / "fit_classes.py"


def test_classes_are_learned_and_outlines_stay(data, tmp_path, monkeypatch) -> None:
    torch.manual_seed(0)
    spec = ModelSpec(
        trunk="compact",
        representation="offset",
        label_space=PANNUKE,
        mpp=0.125,  # at half the tiles' scale, as they are smaller than the trunk takes
        trunk_options={"widths": [16, 16, 16, 16, 8]},
    )
    before = save_network(build_network(spec), tmp_path / "before.safetensors")
    after = tmp_path / "after.safetensors"
    arguments = [str(before), "--data", str(data), "--out", str(after), "--sources", "test"]
    arguments += ["--folds", "1", "--val-folds", "2", "--features", '{"4": 5, "8": 6}']
    arguments += ["--deviations", '{"8": 3}']
    arguments += ["--trust-strides", "4", "--learned-on", "squares"]
    arguments += ["--min-nuclei", "1", "--min-class-probability", "0.6"]
    monkeypatch.setattr(sys, "argv", [str(TOOL), *arguments])
    monkeypatch.syspath_prepend(str(TOOL.parent))
    runpy.run_path(str(TOOL), run_name="__main__")

    old, new = TorchModel(before, "cpu"), TorchModel(after, "cpu")
    assert new.spec.learned_on == "squares"
    assert new.spec.min_class_probability == 0.6
    assert 0 < new.spec.trust_threshold < 0.5  # what one image in twenty has less of
    assert new.trust is not None
    assert new.trust.num_features == 11
    assert new.spec.embedding_size == 14
    store = Store.open(data)
    trust, unlike = [], []
    for tile in map(int, store.select([2])):
        image = at_mpp(store, tile, 0.125)
        outputs = new.outputs(image[None])
        np.testing.assert_allclose(outputs.maps[0], old.maps(image[None])[0, :3], atol=1e-5)
        labels = resample_labels(store.instances(tile), 64, 64)
        assert outputs.classes is not None
        found = outputs.classes[0].pool(labels, 2).argmax(1)
        assert (1 << found).tolist() == store.labels(tile).candidates[1:].tolist()
        trust.append(new.trust.judge(outputs.pool_features(labels, 2, 0)))
        noise = np.random.default_rng(tile).integers(0, 256, (1, *image.shape), np.uint8)
        unlike.append(new.trust.judge(new.outputs(noise).pool_features(labels, 2, 0)))
    assert 0.2 < np.median(trust) < 0.8
    assert np.max(unlike) < 0.05
