"""What a training starts from: a network made anew, which may have another model's weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from histonuc.data.store import Store
from histonuc.models.loading import find_checkpoint
from histonuc.models.model import ModelSpec
from histonuc.models.network import Network
from histonuc.models.zoo import build_network, find_fitting, load_network, start_from
from histonuc.training.config import TrainConfig
from histonuc.training.folder import can_resume


def make_network(config: TrainConfig, store: Store, origins: Mapping[str, str]) -> Network:
    """The network, with the weights of `--init` where the run begins, and frozen as it is to be.

    Args:
        config: settings of the run.
        store: its label space becomes the network's.
        origins: where parts of the user's own came from.

    Raises:
        ValueError: parts that do not exist, or a start that does not fit.
    """
    model = build_network(
        ModelSpec(
            trunk=config.trunk,
            representation=config.representation,
            label_space=store.label_space,
            mpp=config.mpp,
            trunk_options=config.trunk_options,
            representation_options=config.representation_options,
            class_branch=config.class_branch,
            features=config.features,
            origins=origins,
        ),
        pretrained=config.pretrained and not config.init and not can_resume(config),
    )
    if config.init and (config.features or not can_resume(config)):
        _take_over(config, model)
    if config.freeze:
        model.freeze_encoder()
    if config.freeze_statistics:
        model.freeze_statistics()
    model.projections.requires_grad_(False)  # no loss reads them
    return model


def _take_over(config: TrainConfig, model: Network) -> None:
    """The weights of `--init`, where the run begins; with a frozen encoder its trust, too.

    Trust and features are the encoder's alone: as long as it stays, they stay true.

    Raises:
        ValueError: no such model, or one that does not fit.
    """
    other = _load_start(config)
    if not can_resume(config):
        start_from(model, other)
    if config.features and dict(config.features) != dict(other.spec.features):
        raise ValueError(
            f"--features {dict(config.features)}: expected those of --init {config.init}, "
            f"{dict(other.spec.features)}: features are not trained"
        )
    if config.features:
        model.spec = replace(model.spec, deviations=other.spec.deviations)
    if config.freeze and config.features:
        model.trust = other.trust
        model.spec = replace(
            model.spec,
            learned_on=other.spec.learned_on,
            trust_threshold=other.spec.trust_threshold,
            min_class_trust=other.spec.min_class_trust,
            min_class_probability=other.spec.min_class_probability,
        )


def read_start(config: TrainConfig, model: Network) -> Mapping[str, Tensor]:
    """Weights of `--init` that are a part of those that are saved; none where they are not."""
    if not config.init_share:
        return {}
    return find_fitting(model, _load_start(config))


def _load_start(config: TrainConfig) -> Network:
    return load_network(find_checkpoint(Path(config.init)) or Path(config.init))
