"""What a model is: a description of what it was built from, and one call from images to maps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from histonuc.parts import find_part
from histonuc.representations import REPRESENTATIONS, Representation, build_representation
from histonuc.taxonomy import LabelSpace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPEC_KEY = "histonuc"
"""Key of the JSON text of a `ModelSpec` in the metadata of every kind of model file."""


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
        origins: where a trunk or representation came from that is not the package's, by kind; said
            in the error where it is missing, and nothing is ever loaded from there.
    """

    trunk: str
    representation: str
    label_space: LabelSpace
    mpp: float
    trunk_options: Mapping[str, Any] = field(default_factory=dict)
    representation_options: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for JSON and YAML; `from_dict` reads it back."""
        origins = {"origins": dict(self.origins)} if self.origins else {}
        return {
            "trunk": self.trunk,
            "representation": self.representation,
            "label_space": self.label_space.to_dict(),
            "mpp": self.mpp,
            "trunk_options": dict(self.trunk_options),
            "representation_options": dict(self.representation_options),
            **origins,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ModelSpec:
        """Inverse of `to_dict`.

        Raises:
            ValueError: a key is missing.
        """
        missing = {"trunk", "representation", "label_space", "mpp"} - set(record)
        if missing:
            raise ValueError(f"model description without {sorted(missing)}: got {sorted(record)}")
        return cls(
            trunk=str(record["trunk"]),
            representation=str(record["representation"]),
            label_space=LabelSpace.from_dict(record["label_space"]),
            mpp=float(record["mpp"]),
            trunk_options=dict(record.get("trunk_options", {})),
            representation_options=dict(record.get("representation_options", {})),
            origins=dict(record.get("origins", {})),
        )

    def to_json(self) -> str:
        """The text that model files carry in their metadata under `SPEC_KEY`."""
        return json.dumps(self.to_dict())

    @classmethod
    def from_json(cls, text: str) -> ModelSpec:
        """Inverse of `to_json`.

        Raises:
            ValueError: the text is no JSON, or a key is missing.
        """
        return cls.from_dict(json.loads(text))

    def build_representation(self) -> Representation:
        """The representation described, ready to encode and decode.

        Raises:
            ValueError: unknown name or option.
        """
        name, origin = self.representation, self.origins.get("representation", "")
        find_part("representation", name, REPRESENTATIONS, origin)
        return build_representation(name, len(self.label_space), **self.representation_options)


class Model(Protocol):
    """What turns images into maps, whatever computes it.

    Attributes:
        name: what the user calls it.
        sha256: hex SHA-256 of the file that holds the weights.
        spec: what it was built from: its classes, its microns per pixel.
        representation: the decoder of its maps, built from the spec.
        precision: of its arithmetic: ``fp32``, ``bf16`` or ``int8+fp32``, and on what if no CPU.
    """

    name: str
    sha256: str
    spec: ModelSpec
    representation: Representation
    precision: str

    def maps(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Activated maps float32 (B, C, H, W) of RGB images uint8 (B, H, W, 3).

        Several threads may call it at once.
        """
        ...
