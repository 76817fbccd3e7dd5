"""A classifier: one matrix on a nucleus's features, saved as plain arrays, run with numpy alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from histonuc.files import file_sha256, reading, replacing
from histonuc.models.engines import num_cores
from histonuc.models.trust import Trust
from histonuc.taxonomy import LabelSpace
from histonuc.teaching.features import BESIDE, MEASURED, NucleusFeatures

CLASSIFIER_FILE = "classifier.safetensors"
"""Name of the file in the folder that `histonuc teach` writes."""
FORMAT = 1
"""Raised when the file's content changes."""
_BLOCK = 1 << 15
"""Nuclei that are classified at a time: their features stay in the processor's cache."""
_ARRAYS = ("weights", "bias", "centres", "whitening", "distances")
_LARGEST_FEATURES = 4096


@dataclass(frozen=True, kw_only=True, eq=False)
class Classified:
    """The classes that a classifier gives n nuclei.

    Attributes:
        class_index: int8 (n,), most probable class of the classifier's label space.
        probability: float32 (n,), its probability.
        margin: float32 (n,), how much more probable it is than the second: 0 where the classifier
            cannot decide.
    """

    class_index: NDArray[np.int8]
    probability: NDArray[np.float32]
    margin: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Classifier:
    """Classes of nuclei as a linear function of their features.

    Attributes:
        label_space: the C classes.
        weights: float32 (D + M, C), of the D features of the network and the M measured ones.
        bias: float32 (C,).
        temperature: of the softmax, fitted so that probabilities mean what they say.
        embedding_size: D; 0 where it looks at shape, stain and neighbourhood alone.
        model: name of the model whose features it takes; empty without.
        model_sha256: hex SHA-256 of that model's file; empty without.
        trust: judges how much a nucleus looks like those of the slides that taught; None where too
            few nuclei did.
        facts: JSON-able, what it was taught on.
    """

    label_space: LabelSpace
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float = 1.0
    embedding_size: int = 0
    model: str = ""
    model_sha256: str = ""
    trust: Trust | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        size = self.embedding_size + len(MEASURED) + len(BESIDE)
        wanted = (size, len(self.label_space)), (len(self.label_space),)
        if (self.weights.shape, self.bias.shape) != wanted:
            raise ValueError(
                f"a classifier of {size} features and {len(self.label_space)} classes: expected "
                f"arrays {wanted}, got {self.weights.shape} and {self.bias.shape}"
            )
        if not (np.isfinite(self.weights).all() and np.isfinite(self.bias).all()):
            raise ValueError("a classifier: expected finite weights")
        if not 0.01 <= self.temperature <= 100:  # nor NaN
            raise ValueError(
                f"a classifier's temperature: expected 0.01 to 100: {self.temperature:g}"
            )
        if self.trust is not None and self.trust.num_features != size:
            raise ValueError(f"a classifier's trust: expected {size} features")

    def check(self, features: NucleusFeatures, where: Path) -> None:
        """Refuse features that are not those it learned from.

        Args:
            features: of the nuclei.
            where: the folder of their result, for the error.

        Raises:
            ValueError: with what to do.
        """
        if self.embedding_size == 0:
            return
        if features.embedding.shape[1] == 0:
            raise ValueError(
                f"{where} has no embeddings, and the classifier needs those of the model "
                f"{self.model}: predict it with --embeddings, or give its slide"
            )
        if features.model_sha256 != self.model_sha256:
            raise ValueError(
                f"{where} was predicted with {features.model or 'another model'}, the classifier "
                f"was taught with {self.model} ({self.model_sha256[:12]}): predict with that one"
            )

    def scores(self, features: NucleusFeatures, rows: slice = slice(None)) -> NDArray[np.float32]:
        """Scores (n, C) before the softmax, of some consecutive nuclei."""
        size = self.embedding_size
        scores = features.measured[rows] @ self.weights[size:] + self.bias
        if size:
            scores += features.embedding[rows].astype(np.float32) @ self.weights[:size]
        return np.asarray(scores / np.float32(self.temperature), np.float32)

    def probabilities(self, features: NucleusFeatures) -> NDArray[np.float32]:
        """Class probabilities float32 (n, C) of all nuclei; rows sum to 1."""
        found = np.empty((len(features), len(self.label_space)), np.float32)

        def fill(rows: slice) -> None:
            found[rows] = softmax(self.scores(features, rows))

        _each_block(len(features), fill)
        return found

    def classify(self, features: NucleusFeatures) -> Classified:
        """Classes of all nuclei, and how sure they are."""
        num = len(features)
        index, best = np.empty(num, np.int8), np.empty(num, np.float32)
        margin = np.empty(num, np.float32)

        def fill(rows: slice) -> None:
            probabilities = softmax(self.scores(features, rows))
            index[rows] = probabilities.argmax(1)
            second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
            best[rows], margin[rows] = first, first - second

        _each_block(num, fill)
        return Classified(class_index=index, probability=best, margin=margin)

    def judge_trust(self, features: NucleusFeatures) -> NDArray[np.float32] | None:
        """How much each nucleus (n,) looks like those that taught, 0 to 1; None if not known."""
        if self.trust is None:
            return None
        trust, found = self.trust, np.empty(len(features), np.float32)

        def fill(rows: slice) -> None:
            found[rows] = trust.judge(features.rows(np.arange(rows.start, rows.stop)))

        _each_block(len(features), fill)
        return found


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities (n, C) of scores (n, C)."""
    powers = np.exp(scores - scores.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)


def write_classifier(classifier: Classifier, path: Path) -> str:
    """Write ``*.safetensors``: arrays, and JSON about them; returns the file's SHA-256 in hex."""
    from safetensors.numpy import save_file

    arrays = {"weights": classifier.weights, "bias": classifier.bias}
    if (trust := classifier.trust) is not None:
        arrays |= {"centres": trust.centres, "whitening": trust.whitening}
        arrays |= {"distances": trust.distances}
    record = {
        "format": FORMAT,
        "label_space": classifier.label_space.to_dict(),
        "temperature": classifier.temperature,
        "embedding_size": classifier.embedding_size,
        "measured": [*MEASURED, *BESIDE],
        "model": classifier.model,
        "model_sha256": classifier.model_sha256,
        "facts": dict(classifier.facts),
    }
    whole = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
    with replacing(path) as draft:
        save_file(whole, draft, metadata={"histonuc": json.dumps(record)})
    return file_sha256(path)


def read_classifier(path: Path) -> tuple[Classifier, str]:
    """Read what `write_classifier` wrote.

    Args:
        path: of the file, or of the folder that `histonuc teach` wrote.

    Returns:
        The classifier, and the SHA-256 of its file in hex.

    Raises:
        ValueError: no such file, or another's.
    """
    from safetensors import safe_open

    path = path / CLASSIFIER_FILE if path.is_dir() else path
    with reading(path, "classifier of `histonuc teach`"), safe_open(path, framework="np") as file:
        record = json.loads((file.metadata() or {})["histonuc"])
        if record["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, got {record['format']!r}: teach again")
        if record["measured"] != [*MEASURED, *BESIDE]:
            raise ValueError("it was taught on other measurements than this version makes")
        names = set(file.keys())
        arrays = {name: file.get_tensor(name) for name in _ARRAYS if name in names}
        if any(max(array.shape, default=0) > _LARGEST_FEATURES for array in arrays.values()):
            raise ValueError(f"expected arrays of at most {_LARGEST_FEATURES} rows")
        judged = [arrays[name] for name in _ARRAYS[2:] if name in arrays]
        return Classifier(
            label_space=LabelSpace.from_dict(record["label_space"]),
            weights=arrays["weights"],
            bias=arrays["bias"],
            temperature=float(record["temperature"]),
            embedding_size=int(record["embedding_size"]),
            model=str(record["model"]),
            model_sha256=str(record["model_sha256"]),
            trust=Trust(centres=judged[0], whitening=judged[1], distances=judged[2])
            if len(judged) == 3
            else None,
            facts=dict(record["facts"]),
        ), file_sha256(path)


def _each_block(num: int, work: Callable[[slice], None]) -> None:
    """Do something with all of `num` nuclei, a block at a time, on all cores."""
    blocks = [slice(start, min(start + _BLOCK, num)) for start in range(0, num, _BLOCK)]
    if len(blocks) < 2:
        for rows in blocks:
            work(rows)
        return
    with ThreadPoolExecutor(num_cores(), thread_name_prefix="histonuc-classify") as pool:
        list(pool.map(work, blocks))
