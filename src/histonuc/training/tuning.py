"""Fine-tuning in minutes: the decoder and the heads of a trained model learn a lab's own labels.

The encoder stays as it is, so that features, trust and taught classifiers stay true. The labels of
a few fields would else be all that the network knows, so three things keep it from forgetting:
where the labels say nothing it follows the model that it started from, the statistics of its batch
norm stay, and the start's weights have a share in those that are saved.
"""

from __future__ import annotations

import logging
from pathlib import Path

from histonuc.corrections.training_store import SOURCE
from histonuc.data.store import Store
from histonuc.evaluation import TileSelection, score_model
from histonuc.evaluation.compare_records import Comparison
from histonuc.evaluation.comparison import compare
from histonuc.models.loading import find_checkpoint, load_model
from histonuc.models.zoo import load_network
from histonuc.training.config import TrainConfig
from histonuc.training.loop import train
from histonuc.training.tune_options import TuneOptions

_CROPS_AN_EPOCH = 120
_MAX_RATE, _WEIGHT_DECAY, _AVERAGE = 5e-4, 0.02, 0.98
_SCORES = "scores"

log = logging.getLogger(__name__)


def make_config(options: TuneOptions) -> TrainConfig:
    """The settings of the training: the model's own network, decoder and scale.

    Raises:
        ValueError: no such model or store, or a store of one fold.
    """
    spec = load_network(find_checkpoint(Path(options.init)) or Path(options.init)).spec
    store = Store.open(options.data)
    folds, val_folds = _split(store, options)
    decoder = dict(spec.representation_options)
    if spec.label_space.classes != store.label_space.classes:
        decoder.pop("class_weights", None)
        decoder.pop("temperature", None)
    return TrainConfig(
        data=options.data,
        replay=options.replay,
        out=options.out,
        trunk=spec.trunk,
        trunk_options=dict(spec.trunk_options),
        representation=spec.representation,
        representation_options=decoder,
        class_branch=dict(spec.class_branch),
        features={} if options.whole else dict(spec.features),
        mpp=spec.mpp,
        init=options.init,
        init_share=options.init_share,
        freeze=not options.whole,
        freeze_statistics=True,
        teacher=options.init,
        teacher_where="unknown",
        folds=folds,
        val_folds=val_folds,
        samples_per_epoch=_CROPS_AN_EPOCH,
        epochs=options.epochs,
        first_cycle_epochs=options.epochs,
        warmup_epochs=min(1.0, options.epochs / 4),
        cycle_mult=1.0,
        gamma=1.0,
        optimizer="adamw",
        weight_decay=_WEIGHT_DECAY,
        max_lr=_MAX_RATE,
        ema_decay=_AVERAGE,
        class_power=0.4,
        precision="bf16",
        minutes=options.minutes,
        rate_by_minutes=options.minutes > 0,
        log_every=2,  # the page of the viewer shows how far it is
        validate_every=options.epochs,  # once: the held-out fields choose nothing
        threads=options.threads,
        seed=options.seed,
        resume=options.resume,
    )


def fine_tune(options: TuneOptions) -> tuple[Path, Comparison]:
    """Train, and compare before and after on the held-out fields.

    Returns:
        The run folder, which holds the scores, and the comparison as of `histonuc compare`.

    Raises:
        ValueError: settings, store or model that do not go together.
    """
    config = make_config(options)
    run = train(config)
    store = Store.open(config.data)
    selection = TileSelection(folds=config.val_folds)
    folders = []
    for name, model in (("before", options.init), ("after", str(run))):
        loaded = load_model(model)
        folders.append(run / _SCORES / name)
        same = loaded.spec.label_space.classes == store.label_space.classes
        score_model(loaded, store, selection, folders[-1], binary_only=not same)
    return run, compare(folders)


def _split(store: Store, options: TuneOptions) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Folds to learn from and folds to compare on.

    Raises:
        ValueError: there are labels in one fold only.
    """
    labelled = store.select(labels=None).tolist()
    known = sorted({store.fold(tile) for tile in labelled})
    outlined = sorted({store.fold(tile) for tile in labelled if store.has_outlines(tile)})
    val_folds = options.val_folds or tuple((outlined if len(outlined) > 1 else known)[-1:])
    folds = options.folds or tuple(fold for fold in store.folds if fold not in val_folds)
    if not set(known) & set(folds):
        raise ValueError(
            f"{options.data} has labels in one fold: expected at least two, one to learn from and "
            "one that is held out to compare before and after; prepare it with --num-folds 2"
        )
    held_out = store.select(val_folds, labels=None).tolist()
    if not set(outlined) & set(val_folds) and SOURCE in map(store.source, held_out):
        log.warning(
            "no nuclei are outlined in the folds that are held out: every nucleus there that has "
            "no label counts as wrong, before and after. Mark two fields complete or more"
        )
    return folds, val_folds
