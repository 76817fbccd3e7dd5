"""Model specs, files and the table of trunks."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from histonuc.data.classes import open_classes
from histonuc.models.model import ModelSpec
from histonuc.models.zoo import (
    TRUNKS,
    build_network,
    build_trunk,
    load_network,
    measure,
    model_table,
    save_network,
)
from histonuc.taxonomy import PANNUKE

CONSEP = open_classes("consep").label_space

SPEC = ModelSpec(
    trunk="unet",
    representation="semantic",
    label_space=CONSEP,
    mpp=0.5,
    trunk_options={"width": 2, "depth": 1},
    representation_options={"min_area_px": 5},
)


def test_spec_survives_json() -> None:
    assert ModelSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC
    with pytest.raises(ValueError, match=r"without \['mpp'\]"):
        ModelSpec.from_dict({k: v for k, v in SPEC.to_dict().items() if k != "mpp"})


def test_model_is_made_for_its_classes() -> None:
    model = build_network(SPEC)
    assert model.head.out_channels == 1 + len(CONSEP)
    assert model.representation.min_area_px == 5


def test_fresh_logits_are_near_zero() -> None:
    torch.manual_seed(0)
    logits = build_network(SPEC)(torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8))
    assert logits.abs().max() < 1


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(ValueError, match=r"unknown trunk 'vnet'; choose from .*'unet'"):
        build_trunk("vnet")
    with pytest.raises(
        ValueError, match=r"widht \(did you mean width\?\); known are depth, up, width"
    ):
        build_trunk("unet", widht=3)
    with pytest.raises(
        ValueError, match=r"options of the trunk 'refinenet50': depth .*; known are pools, width"
    ):
        build_trunk("refinenet50", depth=101)


def test_table_agrees_with_the_peers() -> None:
    """Against counts others measured on the same networks (../shared/peers.md, milesial, papers)."""
    rows = {row.trunk: row for row in model_table()}
    assert list(rows) == list(TRUNKS)
    expected = {
        "deeplabv3_resnet101": (58.63, 120.6),
        "unet": (31.04, 96.4),
        "refinenet50": (99.03, 121.5),
    }
    for trunk, (millions, gflops) in expected.items():
        assert rows[trunk].num_parameters / 1e6 == pytest.approx(millions, abs=0.03), trunk
        assert rows[trunk].gflops == pytest.approx(gflops, rel=0.002), trunk
    # Nekrasov et al. 2018, table 1: 27 M, 46 M, 62 M
    light = [round(rows[f"refinenet_lw{d}"].num_parameters / 1e6) for d in (50, 101, 152)]
    assert light == [27, 46, 62]
    assert rows["inception_unet"].num_parameters / 1e6 == pytest.approx(3.91, abs=0.01)


def test_measuring_needs_no_weights() -> None:
    spec = ModelSpec(trunk="refinenet152", representation="semantic", label_space=PANNUKE, mpp=0.25)
    start = time.process_time()
    assert measure(spec).num_parameters > 133e6
    assert time.process_time() - start < 5  # 0.3 s when idle


def test_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_network(SPEC)
    file = save_network(model, tmp_path / "m.safetensors")
    before = file.read_bytes()

    def disk_full(path: Path, content: bytes) -> int:
        with path.open("wb") as stream:
            stream.write(content[: len(content) // 2])
        raise OSError("No space left on device")

    monkeypatch.setattr(Path, "write_bytes", disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_network(model, file)
    assert file.read_bytes() == before
    assert load_network(file).spec == SPEC


def _saved(tmp_path: Path) -> Path:
    return save_network(build_network(SPEC), tmp_path / "m.safetensors")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no model at .*model\.safetensors"):
        load_network(tmp_path)


def test_truncated_file(tmp_path: Path) -> None:
    file = _saved(tmp_path)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        load_network(file)


def test_foreign_file(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(1)}, tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match="was not written by histonuc"):
        load_network(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trunk": "vnet"}, "unknown trunk 'vnet'"),
        ({"representation": "voronoi"}, "unknown representation 'voronoi'"),
        ({"trunk_options": {"width": 3, "depth": 1}}, "size mismatch"),
    ],
)
def test_file_that_does_not_fit(tmp_path: Path, change: dict[str, object], message: str) -> None:
    file = _saved(tmp_path)
    record = json.dumps(SPEC.to_dict() | change)
    save_file(load_file(file), file, metadata={"histonuc": record})
    with pytest.raises(ValueError, match=f"(?s)cannot be loaded by this version.*{message}"):
        load_network(file)


def test_freezing_narrows_the_trainable_parameters() -> None:
    with torch.device("meta"):
        model = build_network(
            ModelSpec(trunk="compact", representation="semantic", label_space=PANNUKE, mpp=0.5)
        )
    everything = len(model.trainable_parameters())
    model.freeze_encoder()
    left = {id(p) for p in model.trainable_parameters()}
    assert 0 < len(left) < everything
    assert {id(p) for p in model.head.parameters()} <= left
    assert not {id(p) for p in model.trunk.encoder.parameters()} & left
