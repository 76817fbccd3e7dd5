"""Trained models as files that need no torch, and how much they differ from what was trained."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from histonuc.extras import require
from histonuc.files import replacing
from histonuc.metrics.panoptic import PanopticCounts, panoptic_counts
from histonuc.models.checksum import sign_file
from histonuc.models.engines import ExportedModel, TorchModel
from histonuc.models.exported import describe_model, openvino_core
from histonuc.models.loading import find_checkpoint
from histonuc.models.model import Model
from histonuc.offline import load_openvino

if TYPE_CHECKING:
    from histonuc.models.network import Network

Target = Literal["onnx", "openvino", "safetensors"]
"""Format of the file; all but ``safetensors`` predict without torch."""
Stored = Literal["fp32", "fp16", "int8"]
"""Number format of the weights in the file; int8 also of the arithmetic."""
SUFFIX = {"onnx": ".onnx", "openvino": ".xml", "safetensors": ".safetensors"}
_NUM_TILES = 64
"""Tiles that int8 ranges and the comparison are taken from."""
_SIDE_PX = 512
"""Largest side of those tiles."""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """How the file differs from the checkpoint it was made of.

    Attributes:
        max_difference: largest absolute difference of any map, both in fp32 (but for what is
            int8), on random input.
        num_tiles: real tiles compared; 0 without data.
        agreement: by arithmetic (``fp32``, ``bf16`` where the processor has it; of an int8 file
            ``int8+fp32`` and ``int8+bf16``): binary PQ of the nuclei found by the file against
            those found by the checkpoint, on the real tiles.
    """

    max_difference: float
    num_tiles: int
    agreement: dict[str, float]

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"largest difference to torch on random input: {self.max_difference:.2e}"]
        for precision, pq in self.agreement.items():
            lines.append(
                f"nuclei in {precision} against torch's on {self.num_tiles} tiles: PQ {pq:.4f}"
            )
        return lines

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON."""
        return asdict(self)


def export_model(
    model: Path,
    out: Path,
    *,
    to: Target = "onnx",
    precision: Stored = "fp32",
    representation_options: Mapping[str, Any] | None = None,
    data: Path | None = None,
    folds: Sequence[int] = (),
) -> Parity:
    """Write a trained model as one file, and compare the two.

    Args:
        model: run folder, checkpoint folder, ``.safetensors`` file or a shipped model's name.
        out: file to write, ``*.onnx``, or ``*.xml`` with its weights in ``*.bin`` beside it, which
            predict without torch, or ``*.safetensors`` to train on from; appears whole or not at
            all.
        to: format of the file.
        precision: of its weights. ``fp16`` halves the file, arithmetic stays what the runtime
            chooses; ``int8`` needs `data` for the ranges of the activations.
        representation_options: options of the representation to change, e.g. what a validation set
            chose for its decoder.
        data: store with real tiles: int8's ranges and the comparison come from them.
        folds: of `data` to use, training folds for int8; all when empty.

    Raises:
        ValueError: no checkpoint, a file of another name, or int8 without data.
    """
    require("train", "histonuc export-model")
    from histonuc.models.onnx import export_onnx
    from histonuc.models.quantise import quantise
    from histonuc.models.zoo import load_network, save_network

    checkpoint = find_checkpoint(model)
    if checkpoint is None:
        raise ValueError(f"no checkpoint at {model}: expected a run folder or a checkpoint")
    _check_wishes(out, to, precision, has_data=data is not None)
    network = load_network(checkpoint)
    if representation_options:
        network.set_representation_options(representation_options)
    images = [] if data is None else _tiles(data, folds, network.spec.mpp)
    if to == "safetensors":
        save_network(network, out, half=precision == "fp16")
        return _compare(TorchModel(checkpoint, "cpu"), out, images)
    half = precision == "fp16" and to == "onnx"
    with tempfile.TemporaryDirectory() as folder:
        graph = Path(folder) / "graph.onnx"
        export_onnx(network, graph, precision="fp16-weights" if half else "fp32")
        if precision == "int8":
            graph = quantise(graph, Path(folder) / "int8.onnx", images)
        if to == "openvino":
            _write_openvino(graph, network, out, compress=precision == "fp16")
        else:
            with replacing(out) as draft:
                draft.write_bytes(graph.read_bytes())
    return _compare(TorchModel(checkpoint, "cpu"), out, images)


def _check_wishes(out: Path, to: Target, precision: Stored, *, has_data: bool) -> None:
    """Refuse a file's name, format and precision that do not go together."""
    if out.suffix != SUFFIX[to]:
        raise ValueError(f"--out {out}: expected a file that ends in {SUFFIX[to]}")
    if precision == "int8" and not has_data:
        raise ValueError("--precision int8: expected --data STORE, whose tiles give the ranges")
    if precision == "int8" and to == "safetensors":
        raise ValueError("--to safetensors: expected --precision fp32 or fp16, got int8")


def _write_openvino(graph: Path, network: Network, out: Path, *, compress: bool) -> None:
    model = openvino_core().read_model(graph)
    texts = describe_model(network.spec, network.trunk.min_size, network.trust)
    for key, text in texts.items():
        model.set_rt_info(text, [key])
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "model.xml"
        load_openvino().save_model(model, str(draft), compress_to_fp16=compress)
        sign_file(draft)
        # The .xml comes last: where it is, its weights are.
        for suffix in (".bin", ".xml"):
            with replacing(out.with_suffix(suffix)) as target:
                target.write_bytes(draft.with_suffix(suffix).read_bytes())


def _compare(trained: TorchModel, out: Path, images: list[NDArray[np.uint8]]) -> Parity:
    is_graph = out.suffix != SUFFIX["safetensors"]
    exact: Model = ExportedModel(out, precision="fp32") if is_graph else TorchModel(out, "cpu")
    side = 129  # odd: the padding inside is tested too
    noise = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    engines: dict[str, Model] = {exact.precision: exact}
    if is_graph:  # as it will run; what is int8 is so in both
        native = ExportedModel(out)
        engines[native.precision] = native
    counts = {name: PanopticCounts.zero(0) for name in engines}
    for image in images:
        truth = _labels(trained, image, exact)
        for name, engine in engines.items():
            counts[name] += panoptic_counts(truth, _labels(engine, image, exact))
    return Parity(
        max_difference=float(np.abs(trained.maps(noise) - exact.maps(noise)).max()),
        num_tiles=len(images),
        agreement={name: float(c.pq[0]) for name, c in counts.items()} if images else {},
    )


def _labels(model: Model, image: NDArray[np.uint8], decoder: Model) -> NDArray[np.int32]:
    """Nuclei of one model's maps by another's decoder: the exported file may have other options."""
    return decoder.representation.decode(model.maps(image[None])[0]).labels


def _tiles(data: Path, folds: Sequence[int], mpp: float) -> list[NDArray[np.uint8]]:
    """Real tiles at the model's resolution, spread over the store, cut to `_SIDE_PX`."""
    from histonuc.data.resampling import at_mpp
    from histonuc.data.store import Store

    store = Store.open(data)
    rows: Any = store.select(folds or None, None)
    chosen = np.random.default_rng(0).permutation(rows)[:_NUM_TILES]
    return [at_mpp(store, int(tile), mpp)[:_SIDE_PX, :_SIDE_PX].copy() for tile in chosen]
