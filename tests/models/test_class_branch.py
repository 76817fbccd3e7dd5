"""Classes and features on grids of their own, in torch, in exported files and over mirrorings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from histonuc.models.engines import ExportedModel, TorchModel
from histonuc.models.mirrored import MirroredModel
from histonuc.models.model import ModelSpec
from histonuc.models.onnx import export_onnx
from histonuc.models.outputs import Outputs
from histonuc.models.quantise import quantise
from histonuc.models.zoo import build_network, load_network, save_network
from histonuc.nuclei import TileLabels
from histonuc.representations.cells import Cells
from histonuc.taxonomy import LABEL_SPACES


def _spec(**changes: object) -> ModelSpec:
    values: dict[str, object] = {
        "trunk": "compact",
        "representation": "offset",
        "label_space": LABEL_SPACES["four"],
        "mpp": 0.25,
        "trunk_options": {
            "plain_stem": True,
            "widths": [8, 8, 8, 8, 8],
            "repeats": [2, 1, 1, 1],
            "shuffle": 2,
        },
        "class_branch": {"hidden": 8, "dropout": 0.5, "context": 4},
        "features": {"8": 3, "32": 5},
    }
    return ModelSpec(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = build_network(_spec())
    torch.nn.init.normal_(network.head.weight)  # logits that make a difference
    torch.nn.init.normal_(network.class_branch.classify.weight)
    return save_network(network, tmp_path_factory.mktemp("run") / "model.safetensors")


@pytest.fixture(scope="module")
def onnx_file(checkpoint: Path) -> Path:
    return export_onnx(load_network(checkpoint), checkpoint.with_suffix(".onnx"))


IMAGES = np.random.default_rng(0).integers(0, 256, (2, 70, 101, 3), np.uint8)


def _arrays(outputs: Outputs) -> list[np.ndarray]:
    assert outputs.classes is not None
    return [outputs.maps, outputs.classes.values, *(cells.values for cells in outputs.features)]


def test_the_exported_file_gives_what_torch_gives(checkpoint: Path, onnx_file: Path) -> None:
    trained = TorchModel(checkpoint, "cpu").outputs(IMAGES)
    exported = ExportedModel(onnx_file, precision="fp32").outputs(IMAGES)
    assert trained.maps.shape == (2, 3, 70, 101)
    assert trained.classes is not None
    assert trained.classes.values.shape == (2, 4, 24, 32)
    for outputs in (trained, exported):
        assert [cells.stride for cells in (outputs.classes, *outputs.features)] == [4, 8, 32]
    for ours, theirs in zip(_arrays(trained), _arrays(exported), strict=True):
        assert ours.std() > 0.01, "the outputs were no test"
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(trained.classes.values.sum(1), 1, atol=1e-5)


def test_no_shape_is_read_off_a_convolution(onnx_file: Path) -> None:
    """OpenVINO would not add its bias in one go."""
    onnx = pytest.importorskip("onnx")
    nodes = onnx.load(onnx_file).graph.node
    made_by = {name: node.op_type for node in nodes for name in node.output}
    read = [made_by.get(node.input[0]) for node in nodes if node.op_type == "Shape"]
    assert read
    assert "Conv" not in read


def test_merged_maps_are_those_of_the_training(checkpoint: Path) -> None:
    network = load_network(checkpoint)
    with torch.no_grad():
        logits = network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))
        maps = network.representation.activate(logits).numpy()
    found = TorchModel(checkpoint, "cpu").maps(IMAGES)
    np.testing.assert_allclose(found, maps, rtol=1e-5, atol=1e-4)


def test_int8_keeps_the_outputs_in_floating_point(onnx_file: Path) -> None:
    images = list(IMAGES)
    path = quantise(onnx_file, onnx_file.with_suffix(".int8.onnx"), images)
    exact = ExportedModel(onnx_file, precision="fp32").outputs(IMAGES)
    model = ExportedModel(path, precision="fp32")
    assert model.precision == "int8+fp32"
    for ours, theirs in zip(_arrays(model.outputs(IMAGES)), _arrays(exact), strict=True):
        assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9
        assert len(np.unique(ours)) > ours.size / 4, "it was rounded to the levels of int8"


def test_mirrorings_are_averaged_on_each_grid(checkpoint: Path) -> None:
    model = TorchModel(checkpoint, "cpu")
    mirrored = MirroredModel(model)
    image = IMAGES[:1, :64, :64]
    both = np.concatenate([image, image[:, ::-1], image[:, :, ::-1], image[:, ::-1, ::-1]])
    first, second, third, last = (model.outputs(view[None]).features[0].values for view in both)
    expected = (first + second[:, :, ::-1] + third[..., ::-1] + last[:, :, ::-1, ::-1]) / 4
    np.testing.assert_allclose(mirrored.outputs(image).features[0].values, expected, atol=1e-5)


def test_nuclei_are_those_of_the_merged_maps() -> None:
    instances = np.zeros((50, 61), np.int32)
    for label, (y, x) in enumerate(((8, 9), (8, 40), (30, 20), (41, 50)), start=1):
        instances[y - 6 : y + 6, x - 7 : x + 7] = label
    representation = _spec().build_representation()
    candidates = np.ones(5, np.uint32)
    ignore = np.zeros(instances.shape, bool)
    truth = TileLabels(instances=instances, candidates=candidates, ignore=ignore)
    geometry = representation.encode(truth)["geometry"]
    nucleus = np.where(instances, np.float32(0.9), np.float32(0.1))
    classes = np.random.default_rng(0).dirichlet(np.ones(4), (13, 16)).astype(np.float32)
    outputs = Outputs(
        maps=np.concatenate([nucleus[None], geometry])[None],
        classes=Cells(values=np.moveaxis(classes, -1, 0)[None], stride=4),
    )
    apart, together = outputs.decode(representation, 0), representation.decode(outputs.merge()[0])
    assert len(apart.score) == 4
    np.testing.assert_array_equal(apart.labels, together.labels)
    np.testing.assert_allclose(apart.class_probabilities, together.class_probabilities, atol=1e-5)


def test_cells_are_averaged_over_pixels() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (21, 30)).astype(np.int32)
    cells = Cells(values=rng.random((3, 6, 8), np.float32), stride=4)
    spread = cells.spread(21, 30)
    assert spread[1, 20, 29] == cells.values[1, 5, 7]
    expected = [spread[:, labels == label].mean(1) for label in range(1, 5)]
    np.testing.assert_allclose(cells.pool(labels, 5)[:4], expected, atol=1e-6)
    assert not cells.pool(labels, 5)[4].any(), "a label without pixels"
    with pytest.raises(ValueError, match="cells of 4 pixels that cover"):
        Cells(values=cells.values[:, :5], stride=4).pool(labels, 5)
    cells.values[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        cells.pool(labels, 5)


def test_a_detached_branch_teaches_the_trunk_nothing() -> None:
    gradients = []
    for detach in (False, True):
        network = build_network(_spec(class_branch={"hidden": 8, "detach": detach}))
        torch.nn.init.normal_(network.class_branch.classify.weight)
        network(torch.from_numpy(IMAGES).permute(0, 3, 1, 2))[:, 3:].square().sum().backward()
        trunk = network.trunk.bottom[0].weight.grad
        gradients.append(trunk is not None and bool(trunk.abs().sum() > 0))
        assert network.class_branch.project[0].weight.grad.abs().sum() > 0
    assert gradients == [True, False]


def test_without_hidden_channels_it_is_linear() -> None:
    branch = build_network(_spec(class_branch={"hidden": 0})).class_branch
    rng = torch.Generator().manual_seed(0)
    first, second = (
        [torch.rand((1, 8, side, side), generator=rng) for side in (2, 4, 8, 16)] for _ in range(2)
    )
    with torch.no_grad():
        zero = branch([torch.zeros_like(level) for level in first])
        both = branch([a + b for a, b in zip(first, second, strict=True)])
        torch.testing.assert_close(both + zero, branch(first) + branch(second))
    assert both.shape == (1, 4, 16, 16)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_branch": {"hiden": 3}}, "hiden"),
        ({"class_branch": {"hidden": -1}}, "hidden >= 0"),
        ({"representation": "semantic"}, "goes with hover, offset or star"),
        ({"trunk": "unet", "trunk_options": {}, "features": {}}, "offers no levels"),
        ({"features": {"5": 3}}, "strides of the trunk's features"),
        ({"features": {"8": 0}}, "expected channels by stride"),
    ],
)
def test_what_does_not_go_together_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_network(_spec(**changes))


def test_the_description_is_read_back() -> None:
    spec = _spec()
    assert ModelSpec.from_json(spec.to_json()) == spec
