"""Exported models in int8: ranges of activations from real tiles, outputs in floating point."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.files import replacing
from histonuc.models.checksum import sign_file


def quantise(source: Path, path: Path, images: Sequence[NDArray[np.uint8]]) -> Path:
    """Write a static int8 version of an fp32 file that `export_onnx` wrote.

    Weights are int8, one scale an output channel; activations uint8, with the ranges they have on
    `images`. The first two convolutions, which see little more than raw colours (the second,
    where it is depthwise, costs half of all that int8 changes), and the last ones, which make the
    outputs, stay in floating point, as do the outputs and whatever is no convolution, addition or
    concatenation.

    Args:
        source: the fp32 file.
        path: the file to write; appears whole or not at all.
        images: RGB (H, W, 3) real tiles for the activations' ranges, a few dozen; sizes may differ.

    Raises:
        ValueError: no images.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    if not images:
        raise ValueError("int8 needs real tiles for its ranges: expected images, got none")
    graph = onnx.load_model(str(source)).graph
    convolutions = [node.name for node in graph.node if node.op_type == "Conv"]
    ends = [node.name for node in graph.node if any("padded_" in name for name in node.output)]
    root = logging.getLogger()  # the quantiser's: it recommends a pass our graphs have behind them
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with replacing(path) as draft:
            quantize_static(
                str(source),
                str(draft),
                _Images(images),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                op_types_to_quantize=["Conv", "Clip", "Relu", "Add", "Concat"],
                nodes_to_exclude=[*convolutions[:2], *_last_convolutions(graph), *ends],
            )
            sign_file(draft)
    finally:
        root.setLevel(level)
    return path


def _last_convolutions(graph: Any) -> list[str]:
    """Names of the convolutions that no other convolution comes after."""
    last: list[str] = []
    seen_by_convolution: set[str] = set()  # values that a convolution further on depends on
    for node in reversed(graph.node):  # nodes are sorted: what uses a value comes after it
        before_convolution = any(value in seen_by_convolution for value in node.output)
        if node.op_type == "Conv" and not before_convolution:
            last.append(node.name)
        if node.op_type == "Conv" or before_convolution:
            seen_by_convolution.update(node.input)
    return last


class _Images:
    """Tiles in the form that the calibration asks for, one at a time."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._images, None)
        return None if image is None else {"images": image[None]}
