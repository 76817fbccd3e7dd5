import shutil
import subprocess
import sys

import numpy as np
import pytest

from histonuc import extras
from histonuc.models import loading as module
from histonuc.models.engines import ExportedModel, _choose_precision, pad_to
from histonuc.models.exported import openvino_core
from histonuc.models.loading import list_shipped, load_model


def test_an_onnx_model_gives_its_maps(onnx_model):
    model = ExportedModel(onnx_model, threads=1, precision="fp32")
    assert (model.name, model.spec.mpp) == ("red", 0.5)
    assert model.spec.label_space.classes == ("Nucleus",)
    assert model.representation.channels == 2
    assert len(model.sha256) == 64
    images = np.random.default_rng(0).integers(0, 256, (2, 20, 31, 3), np.uint8)
    maps = model.maps(images)
    assert maps.dtype == np.float32
    assert maps.shape == (2, 2, 20, 31)
    assert np.allclose(maps[:, 0], images[..., 0] / 255, atol=1e-6)
    assert np.allclose(maps.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (3, 20), (7, 7)])
def test_images_below_the_smallest_size_are_padded_and_cropped(onnx_model, size):
    images = np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8)
    maps = ExportedModel(onnx_model, threads=1, precision="fp32").maps(images)
    assert np.allclose(maps[0, 0], images[0, ..., 0] / 255, atol=1e-6)


def test_maps_stay_when_the_next_images_come(onnx_model):
    model = ExportedModel(onnx_model, threads=1)
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 20, 20, 3), np.uint8)
    first = model.maps(images[0])
    before = first.copy()
    model.maps(images[1])
    assert np.array_equal(first, before)


def test_precision_is_what_the_processor_has():
    assert _choose_precision("auto", ["FP32", "BF16"]) == "bf16"
    assert _choose_precision("auto", ["FP32"]) == "fp32"
    assert _choose_precision("fp32", ["FP32", "BF16"]) == "fp32"
    with pytest.raises(ValueError, match="--precision bf16"):
        _choose_precision("bf16", ["FP32"])


def test_padding_reflects_at_the_edges():
    image = np.arange(3, dtype=np.uint8).reshape(1, 1, 3, 1).repeat(3, -1)
    assert pad_to(image, 5)[0, 4, :, 0].tolist() == [0, 1, 2, 2, 1]
    assert pad_to(image, 1) is image


def test_files_that_are_no_models_are_refused(tmp_path):
    onnx = pytest.importorskip("onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no")
    with pytest.raises(ValueError, match="damaged"):
        load_model(str(tmp_path / "bad.onnx"))
    with pytest.raises(ValueError, match="no model file"):
        ExportedModel(tmp_path / "none.onnx")
    value = onnx.helper.make_tensor_value_info("x", 1, [1])
    output = onnx.helper.make_tensor_value_info("y", 1, [1])
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "other", [value], [output])
    for name, key in (("other", "someone"), ("almost", "histonuc-like")):
        other = onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9
        )
        onnx.helper.set_model_props(other, {key: "{}"})
        onnx.save_model(other, str(tmp_path / f"{name}.onnx"))
        with pytest.raises(ValueError, match="not written by histonuc"):
            load_model(str(tmp_path / f"{name}.onnx"))


def test_shipped_models_are_found_by_name(onnx_model, monkeypatch):
    monkeypatch.setattr(module, "shipped_files", lambda: {module.DEFAULT_MODEL: onnx_model})
    assert load_model("default").name == module.DEFAULT_MODEL
    assert load_model(module.DEFAULT_MODEL).spec.mpp == 0.5
    (row,), failed = list_shipped()
    assert failed == {}
    assert row.to_dict() == {
        "name": module.DEFAULT_MODEL,
        "trunk": "red",
        "representation": "semantic",
        "mpp": 0.5,
        "size_mb": {"onnx": round(onnx_model.stat().st_size / 1e6, 2)},
        "classes": ["Nucleus"],
    }
    with pytest.raises(ValueError, match=module.DEFAULT_MODEL):
        load_model("no-such-model")
    with pytest.raises(ValueError, match="--device cuda:0"):
        load_model("default", "cuda:0")


def test_one_s_own_folder_of_models_is_searched_by_name(onnx_model, tmp_path, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("mine", module.DEFAULT_MODEL):
        shutil.copy(onnx_model, folder / f"{name}.onnx")
    monkeypatch.setenv("HISTONUC_MODELS", str(folder))
    found = {model.name: model for model in list_shipped()[0]}
    assert found["mine"].trunk == "red"
    assert found[module.DEFAULT_MODEL].trunk == "compact"
    assert load_model("mine").spec.mpp == 0.5
    monkeypatch.setenv("HISTONUC_MODELS", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="HISTONUC_MODELS: no folder at"):
        list_shipped()


def test_a_checkpoint_without_torch_says_which_extra(tmp_path, monkeypatch):
    (tmp_path / "checkpoints" / "best").mkdir(parents=True)
    (tmp_path / "checkpoints" / "best" / "model.safetensors").write_bytes(b"")
    monkeypatch.setattr(extras, "is_installed", lambda _: False)
    with pytest.raises(ValueError, match=r"pip install 'histonuc\[train\]'"):
        load_model(str(tmp_path))


def test_predicting_imports_no_torch():
    code = (
        "import sys; import histonuc.inference.predict, histonuc.exports, histonuc.demo_slide; "
        "heavy = {'torch', 'openvino', 'openslide', 'matplotlib', 'pyarrow', 'tifffile', "
        "'shapely', 'rich'}; sys.exit(' '.join(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A run folder with a small untrained model."""
    pytest.importorskip("torch")
    import torch

    from histonuc.models.model import ModelSpec
    from histonuc.models.zoo import build_network, save_network
    from histonuc.taxonomy import NUCLEUS

    torch.manual_seed(0)
    spec = ModelSpec(trunk="compact", representation="semantic", label_space=NUCLEUS, mpp=0.5)
    run = tmp_path_factory.mktemp("run")
    save_network(build_network(spec), run / "checkpoints" / "best")
    return run


THREADS_AT_ONCE = """
import os, sys, threading
from histonuc.models.exported import openvino_core
from histonuc.offline import load_openvino
openvino_core()
openvino = load_openvino()
sys.setswitchinterval(1e-6)
start = threading.Barrier(8)
threads = [
    threading.Thread(target=lambda: (start.wait(), openvino.Type.u8.to_dtype()), daemon=True)
    for _ in range(8)
]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join(100)
os._exit(any(thread.is_alive() for thread in threads))
"""


def test_threads_that_infer_for_the_first_time_at_once_do_not_wait_for_each_other_for_ever():
    done = subprocess.run([sys.executable, "-c", THREADS_AT_ONCE], timeout=240, check=False)
    assert done.returncode == 0


def test_a_signal_after_models_came_and_went_kills_nobody(onnx_model):
    """OpenVINO changes the stack of signal handlers (`engines.openvino_core`)."""
    code = """
import faulthandler, os, signal, sys
from pathlib import Path
from histonuc.models.engines import ExportedModel
faulthandler.enable()  # a signal stack to put back, as under pytest
first = ExportedModel(Path(sys.argv[1]))
second = ExportedModel(Path(sys.argv[1]))
del first
del second
signal.signal(signal.SIGUSR1, lambda *_: print("lived"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    command = [sys.executable, "-c", code, str(onnx_model)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "lived\n"), done.stderr


def test_run_folder_checkpoint_and_file_are_one_model(checkpoint):
    best = checkpoint / "checkpoints" / "best"
    models = [
        load_model(str(path), "cpu") for path in (checkpoint, best, best / "model.safetensors")
    ]
    images = np.random.default_rng(0).integers(0, 256, (1, 70, 45, 3), np.uint8)
    maps = [model.maps(images) for model in models]
    assert maps[0].shape == (1, 2, 70, 45)
    assert np.allclose(maps[0].sum(1), 1, atol=1e-5)
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])
    assert len({model.sha256 for model in models}) == 1
    assert models[0].spec.mpp == 0.5
    assert load_model(str(checkpoint), "auto").maps(images[:, :5, :5]).shape == (1, 2, 5, 5)


def test_a_checkpoint_runs_in_the_precision_asked_for(checkpoint):
    images = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), np.uint8)
    exact, asked = (load_model(str(checkpoint), "cpu", kind) for kind in ("auto", "fp32"))
    assert exact.precision == asked.precision == "fp32"
    assert np.array_equal(exact.maps(images), asked.maps(images))
    with pytest.raises(ValueError, match=r"int8: .* is a checkpoint, which computes in floating"):
        load_model(str(checkpoint), "cpu", "int8")
    if "BF16" in openvino_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        half = load_model(str(checkpoint), "cpu", "bf16")
        assert half.precision == "bf16"
        assert 0 < np.abs(half.maps(images) - exact.maps(images)).max() < 0.05
    else:
        with pytest.raises(ValueError, match="no bf16 arithmetic here"):
            load_model(str(checkpoint), "cpu", "bf16")


def test_a_gpu_that_is_not_there_is_refused(checkpoint):
    import torch

    for kind, device in (("cuda", "cuda:0"), ("mps", "mps")):
        if not getattr(torch, kind).is_available():
            with pytest.raises(ValueError, match=f"--device {device}: .* use --device cpu"):
                load_model(str(checkpoint), device)


def test_a_shipped_models_int8_version_is_taken_where_it_is_fast(onnx_model, tmp_path, monkeypatch):
    plain, quantised = tmp_path / "m.onnx", tmp_path / "m.int8.onnx"
    plain.write_bytes(onnx_model.read_bytes())
    quantised.write_bytes(onnx_model.read_bytes())
    for machine, precision, expected in (
        ("x86_64", "auto", quantised),
        ("AMD64", "auto", quantised),
        ("arm64", "auto", plain),
        ("arm64", "int8", quantised),
        ("x86_64", "fp32", plain),
        ("x86_64", "bf16", plain),
    ):
        monkeypatch.setattr(module.platform, "machine", lambda machine=machine: machine)
        assert module._stored(plain, precision) == expected
    quantised.unlink()
    assert module._stored(plain, "int8") == plain  # which is then refused:
    with pytest.raises(ValueError, match=r"--precision int8: .*stored in floating point"):
        ExportedModel(plain, precision="int8")
