"""Model files that are damaged, or that ask for what nobody can build: one clear error each."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from histonuc import cli
from histonuc.models.checksum import CHECKSUM_KEY, WEIGHTS, check_file
from histonuc.models.exported import read_exported
from histonuc.models.loading import DEFAULT_MODEL, load_model
from histonuc.models.model import ModelSpec
from histonuc.taxonomy import NUCLEUS

SPEC = ModelSpec(
    trunk="unet",
    representation="semantic",
    label_space=NUCLEUS,
    mpp=0.5,
    trunk_options={"width": 2, "depth": 1},
)
MODEL_LIMIT_S = 60


def flip(file: Path, at: int) -> None:
    content = bytearray(file.read_bytes())
    content[at] ^= 1
    file.write_bytes(content)


def places(file: Path) -> list[int]:
    """Bytes all over a file, but none of the few that say where its checksum is."""
    content = file.read_bytes()
    key = content.find(CHECKSUM_KEY.encode())
    spread = np.linspace(0, len(content) - 1, 40).astype(int).tolist()
    return [at for at in spread if not key <= at < key + len(CHECKSUM_KEY) + 16]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One small network in every format, by suffix."""
    pytest.importorskip("torch")
    from histonuc.models.export import _write_openvino
    from histonuc.models.onnx import export_onnx
    from histonuc.models.zoo import build_network, save_network

    folder = tmp_path_factory.mktemp("written")
    network = build_network(SPEC)
    save_network(network, folder / "m.safetensors")
    export_onnx(network, folder / "m.onnx")
    _write_openvino(folder / "m.onnx", network, folder / "m.xml", compress=False)
    return {path.suffix: path for path in folder.iterdir()}


@pytest.mark.parametrize("suffix", [".onnx", ".safetensors", ".xml", ".bin"])
def test_a_flipped_bit_is_an_error_in_every_format(written, tmp_path, suffix) -> None:
    for path in written.values():
        shutil.copy(path, tmp_path)
    changed = tmp_path / f"m{suffix}"
    given = changed.with_suffix(".xml") if suffix == ".bin" else changed
    assert load_model(str(given), "cpu").spec == SPEC
    whole = changed.read_bytes()
    for at in places(changed):
        flip(changed, at)
        with pytest.raises(
            ValueError, match=r"damaged|not written by histonuc|cannot be"
        ) as caught:
            load_model(str(given), "cpu")
        assert "\n" not in str(caught.value)
        changed.write_bytes(whole)


def test_an_openvino_model_without_its_weights_says_so(written, tmp_path) -> None:
    shutil.copy(written[".xml"], tmp_path)
    with pytest.raises(ValueError, match=r"its weights are missing, expected at .*m\.bin"):
        load_model(str(tmp_path / "m.xml"))


def test_other_weights_or_another_description_are_another_model(written, tmp_path) -> None:
    for path in written.values():
        shutil.copy(path, tmp_path)
    from histonuc.models.exported import exported_sha256

    before = exported_sha256(tmp_path / "m.xml")
    for suffix in (".xml", ".bin"):
        whole = (tmp_path / f"m{suffix}").read_bytes()
        flip(tmp_path / f"m{suffix}", len(whole) // 2)
        assert exported_sha256(tmp_path / "m.xml") != before
        (tmp_path / f"m{suffix}").write_bytes(whole)


def test_a_shipped_model_is_checked_by_its_card(tmp_path, monkeypatch) -> None:
    for suffix in (".onnx", ".md"):
        shutil.copy(WEIGHTS / f"{DEFAULT_MODEL}{suffix}", tmp_path)
    monkeypatch.setattr("histonuc.models.checksum.WEIGHTS", tmp_path)
    file = tmp_path / f"{DEFAULT_MODEL}.onnx"
    check_file(file)
    flip(file, 2_000_000)
    with pytest.raises(ValueError, match="does not agree with its checksum"):
        check_file(file)


def test_a_file_of_an_older_version_is_taken_with_a_warning(onnx_model, caplog) -> None:
    assert read_exported(onnx_model).spec.mpp == 0.5
    assert "has no checksum" in caplog.text


BAD = [
    ({"trunk_options": {"depth": 1_000_000_000}}, "trunk option 'depth': expected 2048 at most"),
    ({"trunk_options": {"depth": float("inf")}}, "trunk option 'depth': expected 2048 at most"),
    ({"trunk_options": {"widths": [1e9]}}, "trunk option 'widths': expected 2048 at most"),
    ({"trunk_options": {"widths": [1] * 1000}}, "trunk options: expected 64 items at most"),
    ({"trunk_options": {"widths": [[1]]}}, "trunk option 'widths': expected numbers or texts"),
    ({"trunk_options": 3}, "model description: "),
    ({"trunk_options": {"depth": 1000}}, "cannot be loaded"),
    ({"representation_options": {"min_area_px": 1e12}}, "expected 1000000 at most"),
    ({"label_space": {"name": "none", "classes": []}}, "a label space holds 1 to 31 classes"),
    ({"label_space": {}}, "model description: "),
    ({"label_space": ["a"]}, "model description: "),
    ({"label_space": {"name": "n", "classes": ["a\x1b[2J"]}}, "a name of at most 100 characters"),
    ({"mpp": float("nan")}, "mpp: expected 0.01 to 100"),
    ({"mpp": "coarse"}, "could not convert"),
    ({"trunk": "x" * 1000}, "a name of at most 100 characters"),
]


def described(text: str, template: Path, folder: Path) -> Path:
    """The safetensors file with another description, its checksum right."""
    from safetensors.torch import load_file, save_file

    from histonuc.models.checksum import UNSIGNED, sign_file

    file = folder / "m.safetensors"
    save_file(load_file(template), file, metadata={"histonuc": text, CHECKSUM_KEY: UNSIGNED})
    sign_file(file)
    return file


@pytest.mark.timeout(MODEL_LIMIT_S)
@pytest.mark.parametrize(("change", "message"), BAD)
def test_what_nobody_can_build_is_refused(
    written: dict[str, Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    file = described(json.dumps(SPEC.to_dict() | change), written[".safetensors"], tmp_path)
    with pytest.raises(ValueError, match=message) as caught:
        load_model(str(file), "cpu")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("text", ["[" * 50_000, "[1]", "null", "{", "x" * 200_000])
def test_a_description_that_is_none_is_refused(written, tmp_path, text, capsys) -> None:
    file = described(text, written[".safetensors"], tmp_path)
    with pytest.raises(ValueError, match="cannot be loaded"):
        load_model(str(file), "cpu")
    assert cli.run(["info", str(file)]) == 2
    assert "Traceback" not in capsys.readouterr().err


def test_one_bad_file_among_own_models_leaves_the_others(
    onnx_model, tmp_path, monkeypatch, capsys
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copy(onnx_model, folder / "good.onnx")
    (folder / "bad.onnx").write_bytes(b"histonuc" * 30)
    (folder / "folder.onnx").mkdir()
    monkeypatch.setenv("HISTONUC_MODELS", str(folder))
    assert cli.run(["models", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in found["shipped"]} >= {"good", DEFAULT_MODEL}
    assert "is damaged" in found["failed"]["bad"]
    assert "no model file" in found["failed"]["folder"]
    assert cli.run(["models"]) == 1
    assert "bad                      cannot be used" in capsys.readouterr().out
    assert load_model("good").spec.mpp == 0.5


def test_a_description_of_other_maps_than_the_file_gives_is_refused(onnx_model) -> None:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_model(str(onnx_model))
    spec = ModelSpec.from_json(model.metadata_props[0].value).to_dict()
    spec["label_space"] = {"name": "two", "classes": ["A", "B"]}
    onnx.helper.set_model_props(model, {"histonuc": json.dumps(spec), "histonuc_min_size": "8"})
    onnx.save_model(model, str(onnx_model))
    with pytest.raises(
        ValueError, match=r"asks for the outputs .with channels. \[\('maps', '3'\)\], it gives"
    ):
        read_exported(onnx_model)
    onnx.helper.set_model_props(model, {"histonuc": json.dumps(spec), "histonuc_min_size": "1e9"})
    onnx.save_model(model, str(onnx_model))
    with pytest.raises(ValueError, match="is damaged: it takes images from '1e9' pixels up"):
        read_exported(onnx_model)
