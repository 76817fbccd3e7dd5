"""What a model is: a description of what it was built from, and one call from images to maps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from histonuc.files import is_text, one_line
from histonuc.models.outputs import Outputs
from histonuc.models.trust import Trust
from histonuc.parts import find_part
from histonuc.representations import REPRESENTATIONS, Representation, build_representation
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPEC_KEY = "histonuc"
"""Key of the JSON text of a `ModelSpec` in the metadata of every kind of model file."""
MAX_TRUNK_NUMBER = 2048
"""Largest number among a trunk's options: a network of depth 1e9 would never be built."""
MAX_NUMBER = 1_000_000
"""Largest number among a representation's options."""
_MAX_TEXT = 100_000
"""Longest JSON text of a spec, in characters; those of the shipped models have 700."""
_MAX_ITEMS = 64
"""Most options, and most items of an option."""
_PLAUSIBLE_MPP = (0.01, 100.0)
"""Lowest and highest microns per pixel of a model."""

DEFAULT_TRUST_THRESHOLD = 0.05
"""Median trust below which the classes of an image are extrapolated, where the model says no other:
it is calibrated so that one in twenty nuclei like those it learned from has less."""
_SHARES = {
    "trust_threshold": DEFAULT_TRUST_THRESHOLD,
    "min_class_probability": 0.0,
    "min_class_trust": 0.0,
}
"""Fields of `ModelSpec` that are shares of 1, with their usual values, which are not written."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Everything needed to build a model again, apart from its weights.

    Attributes:
        trunk: a key of `histonuc.models.zoo.TRUNKS`.
        representation: a key of `histonuc.representations.REPRESENTATIONS`.
        label_space: the classes it tells apart.
        mpp: microns per pixel of the images it was trained on.
        trunk_options: keyword arguments of the trunk.
        representation_options: keyword arguments of the representation.
        class_branch: keyword arguments of `histonuc.models.class_branch.ClassBranch`; empty where
            the classes come out of the same head as the other maps.
        features: channels of the features that the network also gives, projected from its
            encoder's, by their stride in pixels: ``{"8": 24, "16": 48}``; empty for none.
        deviations: of the first so many of these channels, by stride, the embedding of a nucleus
            has the standard deviation over the nucleus, too.
        learned_on: what tissue its classes were learned on, as "colon"; empty where not told.
        trust_threshold: the classes of an image are extrapolated where the median of its nuclei's
            trust lies below this.
        min_class_probability: a nucleus whose most probable class has less is "Uncertain", where
            the user asks for nothing else; 0 for never.
        min_class_trust: the same of its trust.
        origins: where a trunk or representation came from that is not the package's, by kind; said
            in the error where it is missing, and nothing is ever loaded from there.

    Raises:
        ValueError: a value that nobody can build a model of, or that is no text.
    """

    trunk: str
    representation: str
    label_space: LabelSpace
    mpp: float
    trunk_options: Mapping[str, Any] = field(default_factory=dict)
    representation_options: Mapping[str, Any] = field(default_factory=dict)
    class_branch: Mapping[str, Any] = field(default_factory=dict)
    features: Mapping[str, int] = field(default_factory=dict)
    deviations: Mapping[str, int] = field(default_factory=dict)
    learned_on: str = ""
    trust_threshold: float = DEFAULT_TRUST_THRESHOLD
    min_class_probability: float = 0.0
    min_class_trust: float = 0.0
    origins: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        low, high = _PLAUSIBLE_MPP
        if not low <= self.mpp <= high:  # nor NaN
            raise ValueError(f"a model's mpp: expected {low:g} to {high:g}, got {self.mpp:g}")
        for name in (self.trunk, self.representation, *self.label_space.classes):
            if not is_text(name) or len(name) > 100:
                raise ValueError(
                    f"a name of at most 100 characters was expected, got {name!r:.120}"
                )
        if self.learned_on and (not is_text(self.learned_on) or len(self.learned_on) > 100):
            raise ValueError(f"learned_on: at most 100 characters, got {self.learned_on!r:.120}")
        for name in _SHARES:
            if not 0 <= (value := getattr(self, name)) <= 1:  # nor NaN
                raise ValueError(f"a model's {name}: expected 0 to 1, got {value:g}")
        _check_options("trunk", self.trunk_options, MAX_TRUNK_NUMBER)
        _check_options("class_branch", self.class_branch, MAX_TRUNK_NUMBER)
        _check_options("features", self.features, MAX_TRUNK_NUMBER)
        _check_options("deviations", self.deviations, MAX_TRUNK_NUMBER)
        _check_options("representation", self.representation_options, MAX_NUMBER)
        if any(
            not isinstance(count, int) or not 0 < count <= self.features.get(stride, 0)
            for stride, count in self.deviations.items()
        ):
            raise ValueError(
                f"a model's deviations {dict(self.deviations)}: expected numbers above 0 and at "
                f"most those of its features {dict(self.features)}"
            )

    @property
    def embedding_size(self) -> int:
        """Numbers that the embedding of a nucleus has; 0 for a model without features."""
        return sum(self.features.values()) + sum(self.deviations.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON and YAML; `from_dict` reads it back."""
        given = {
            "class_branch": self.class_branch,
            "features": self.features,
            "deviations": self.deviations,
            "origins": self.origins,
        }
        return {
            "trunk": self.trunk,
            "representation": self.representation,
            "label_space": self.label_space.to_dict(),
            "mpp": self.mpp,
            "trunk_options": dict(self.trunk_options),
            "representation_options": dict(self.representation_options),
            **{name: dict(value) for name, value in given.items() if value},
            **({"learned_on": self.learned_on} if self.learned_on else {}),
            **{
                name: getattr(self, name)
                for name in _SHARES
                if getattr(self, name) != _SHARES[name]
            },
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ModelSpec:
        """Inverse of `to_dict`.

        Raises:
            ValueError: a key is missing, or a value is not what it should be.
        """
        missing = {"trunk", "representation", "label_space", "mpp"} - set(record)
        if missing:
            raise ValueError(f"model description without {sorted(missing)}: got {sorted(record)}")
        try:
            return cls(
                trunk=str(record["trunk"]),
                representation=str(record["representation"]),
                label_space=LabelSpace.from_dict(record["label_space"]),
                mpp=float(record["mpp"]),
                trunk_options=dict(record.get("trunk_options", {})),
                representation_options=dict(record.get("representation_options", {})),
                class_branch=dict(record.get("class_branch", {})),
                features=dict(record.get("features", {})),
                deviations=dict(record.get("deviations", {})),
                learned_on=str(record.get("learned_on", "")),
                **{name: float(record.get(name, usual)) for name, usual in _SHARES.items()},
                origins=dict(record.get("origins", {})),
            )
        except (TypeError, LookupError, AttributeError, OverflowError) as error:
            raise ValueError(f"model description: {one_line(error)}") from None

    def to_json(self) -> str:
        """The text that model files carry in their metadata under `SPEC_KEY`."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Inverse of `to_json`.

        Raises:
            ValueError: no JSON of a description, a long or deep one, or as of `from_dict`.
        """
        if len(text) > _MAX_TEXT:
            raise ValueError(f"model description of {len(text)} characters: expected {_MAX_TEXT}")
        try:
            record = json.loads(text)
        except RecursionError:
            raise ValueError("model description: nested too deeply") from None
        if not isinstance(record, dict):
            raise ValueError(f"model description: expected an object, got {text!r:.80}")
        return cls.from_dict(record)

    def build_representation(self) -> Representation:
        """The representation described, ready to encode and decode.

        Raises:
            ValueError: unknown name or option.
        """
        name, origin = self.representation, self.origins.get("representation", "")
        find_part("representation", name, REPRESENTATIONS, origin)
        return build_representation(name, len(self.label_space), **self.representation_options)


def _check_options(kind: str, options: Mapping[str, Any], most: int) -> None:
    """Refuse options that describe something of a size that nobody can build.

    Args:
        kind: of the part, for the error.
        options: by name: numbers, texts, and lists of them.
        most: the largest number.
    """
    values = [
        list(value) if isinstance(value, list | tuple) else [value] for value in options.values()
    ]
    if max(map(len, [options, *values])) > _MAX_ITEMS:
        raise ValueError(f"{kind} options: expected {_MAX_ITEMS} items at most")
    for name, value in zip(options, values, strict=True):
        for item in value:
            if isinstance(item, list | tuple | dict):
                raise ValueError(
                    f"{kind} option {name!r}: expected numbers or texts, got {item!r:.80}"
                )
            if isinstance(item, int | float) and not abs(item) <= most:
                raise ValueError(f"{kind} option {name!r}: expected {most} at most, got {item:g}")


class Model(Protocol):
    """What turns images into maps, whatever computes it.

    Attributes:
        name: what the user calls it.
        sha256: hex SHA-256 of the file that holds the weights.
        spec: what it was built from: its classes, its microns per pixel.
        representation: the decoder of its maps, built from the spec.
        precision: of its arithmetic: ``fp32``, ``bf16`` or ``int8+fp32``, and on what if no CPU.
        trust: judges how far its classes can be trusted; None for a model that cannot tell.
    """

    name: str
    sha256: str
    spec: ModelSpec
    representation: Representation
    precision: str
    trust: Trust | None

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activated maps float32 (B, C, H, W) of RGB images uint8 (B, H, W, 3).

        Several threads may call it at once.
        """
        ...

    def outputs(self, images: NDArray[np.uint8]) -> Outputs:
        """The same with all that the model gives, nothing brought to a size that it has not.

        Several threads may call it at once.
        """
        ...
