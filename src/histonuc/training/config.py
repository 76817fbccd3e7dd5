"""Settings of one training: the schema, the help of ``histonuc train``, and the YAML's comments."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

from histonuc.data.augment_config import AugmentConfig
from histonuc.field_checks import check_types, flag, read_options, refuse_unknown

_POSITIVE = (
    *("tile_px", "epochs", "batch_size", "accumulate", "devices", "num_nodes"),
    *("validate_every", "log_every", "mpp", "max_lr", "first_cycle_epochs"),
)
_NOT_NEGATIVE = (
    *("samples_per_epoch", "minutes", "weight_decay", "min_lr", "clip_norm"),
    *("warmup_epochs", "early_stop_epochs", "workers", "threads", "checkpoint_minutes"),
    *("checkpoint_steps", "seed", "teacher_weight"),
)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """All settings of `histonuc train`."""

    data: Path
    """Store, as `histonuc prepare` writes it."""
    out: Path
    """Run folder to write."""
    trunk: str = "unet"
    """Network: see `histonuc models`; one of your own by its name (--plugin)."""
    representation: str = "offset"
    """How nuclei become maps and come back; one of your own by its name (--plugin)."""
    trunk_options: dict[str, Any] = field(default_factory=dict)
    """Options of the trunk, e.g. up: bilinear for unet."""
    representation_options: dict[str, Any] = field(default_factory=dict)
    """Options of the representation, e.g. dice: 1.0, class_weights."""
    class_branch: dict[str, Any] = field(default_factory=dict)
    """Options of a class head of its own, which reads several levels: hidden, dropout, detach."""
    features: dict[str, Any] = field(default_factory=dict)
    """Features that the network also gives, channels by stride; trained in no way, see --init."""
    loss: str = "representation"
    """Loss to minimise: the representation's, or one of your own by its name (--plugin)."""
    pretrained: bool = True
    """Start from pretrained encoder weights where the trunk has them."""
    init: str = ""
    """Model to go on from (run folder or checkpoint), e.g. to fine-tune it on corrected labels."""
    teacher: str = ""
    """Model whose maps the network learns beside the labels, all but the classes."""
    teacher_weight: float = 1.0
    """Weight of the teacher's loss."""
    teacher_where: Literal["everywhere", "unknown"] = "everywhere"
    """Follow the teacher everywhere, or where labels say nothing, and there its classes, too."""
    replay: str = ""
    """Second store of the same classes, against forgetting: as many crops again are of it."""
    freeze: bool = False
    """Freeze the pretrained encoder (the seed's freeze-all-but-layer4 for deeplabv3_resnet101)."""
    init_share: float = 0.0
    """Share of --init's weights in those that are saved, against forgetting."""
    freeze_statistics: bool = False
    """Leave the statistics of batch norm as they are in --init: those of few images are poor."""

    folds: tuple[int, ...] = (1,)
    """Folds to train on."""
    val_folds: tuple[int, ...] = (2,)
    """Folds to validate on; they choose the best checkpoint."""
    sources: tuple[str, ...] = ()
    """Data sets to use; all when empty."""
    tile_px: int = 256
    """Side of a training crop in pixels."""
    mpp: float = 0.25
    """Microns per pixel of the model; tiles of another scale are resampled."""
    samples_per_epoch: int = 0
    """Crops an epoch; 0 for as many as cover the training tiles once."""
    tissue_power: float = 0.0
    """Balance tissues when sampling: 0 as they are, 1 equally often."""
    class_power: float = 0.0
    """Draw tiles with rare classes more often: 0 as they are, 1 inversely to their share."""
    source_power: float = 0.0
    """Balance data sets when sampling."""
    source_weights: dict[str, float] = field(default_factory=dict)
    """Draw a data set so many times as often: consep: 3, other data sets 1."""
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    """Augmentation."""

    epochs: int = 100
    """Epochs to train."""
    minutes: float = 0.0
    """Time for everything, the validation at the end included; 0 for no limit."""
    rate_by_minutes: bool = False
    """Let the learning rate fall to its end by --minutes where these end before the epochs."""
    batch_size: int = 8
    """Crops a step and process."""
    accumulate: int = 1
    """Batches whose gradients are added before a step."""
    optimizer: Literal["adam", "adamw"] = "adam"
    """Optimiser."""
    weight_decay: float = 0.0
    """Weight decay."""
    max_lr: float = 1e-3
    """Learning rate at the peak of the first cycle."""
    min_lr: float = 1e-6
    """Learning rate at the start and end of each cycle."""
    first_cycle_epochs: float = 10.0
    """Length of the first cycle in epochs, warm-up included."""
    cycle_mult: float = 2.0
    """Factor on the length from cycle to cycle."""
    warmup_epochs: float = 3.0
    """Length of each cycle's linear rise in epochs."""
    gamma: float = 0.5
    """Factor on the peak rate from cycle to cycle."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 for no clipping."""
    ema_decay: float = 0.0
    """Validate and save a moving average of the weights; 0 for none, 0.999 is usual."""
    early_stop_epochs: int = 0
    """Stop after this many validations without a new best; 0 for never."""
    monitor: Literal["dice", "iou", "bpq", "mpq"] = "bpq"
    """Validation score that decides which checkpoint is the best: nuclei (bpq, mpq) or pixels."""
    validate_every: int = 1
    """Epochs between validations."""

    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """Kind of device."""
    devices: int = 1
    """Devices a node."""
    num_nodes: int = 1
    """Nodes."""
    strategy: str = "auto"
    """Lightning Fabric's strategy; auto takes ddp for more than one device."""
    precision: Literal["32", "bf16", "16"] = "32"
    """Number format of the arithmetic: bf16 doubles the speed of recent processors."""
    workers: int = 0
    """Processes that prepare crops; 0 does it in the training process."""
    threads: int = 0
    """Threads of a process's arithmetic on a processor; 0 for torch's choice."""
    seed: int = 0
    """Seed of weights, order and crops."""

    resume: bool = False
    """Go on from the run folder's last checkpoint."""
    checkpoint_minutes: float = 5.0
    """Save a checkpoint this often also within an epoch."""
    checkpoint_steps: int = 0
    """Save a checkpoint also every so many steps; 0 for never."""
    log_every: int = 10
    """Steps between lines of metrics.jsonl."""
    tensorboard: bool = False
    """Write TensorBoard events into the run folder."""
    mlflow: str = ""
    """MLflow store to log to: sqlite:///FILE.db or a server's address; needs the extra mlflow."""
    wandb: str = ""
    """Weights & Biases project to log to, into the run folder; needs the extra wandb."""

    def __post_init__(self) -> None:
        for name in ("data", "out"):
            object.__setattr__(self, name, Path(getattr(self, name)))
        for name in ("trunk_options", "representation_options", "class_branch", "features"):
            object.__setattr__(self, name, read_options(getattr(self, name)))
        object.__setattr__(self, "precision", str(self.precision))  # YAML: precision: 32
        check_types(self)
        check_types(self.augment, "augment.")
        for name in _POSITIVE:
            if getattr(self, name) <= 0:
                raise ValueError(f"{flag(name)}: expected above 0, got {getattr(self, name)}")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise ValueError(f"{flag(name)}: expected 0 or more, got {getattr(self, name)}")
        for name in ("tissue_power", "class_power", "source_power"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{flag(name)}: expected 0..1, got {getattr(self, name)}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"--ema-decay: expected 0 or more and below 1, got {self.ema_decay}")
        self._check_source_weights()
        self._check_rate()
        self._check_together()

    def _check_source_weights(self) -> None:
        for name, weight in self.source_weights.items():
            if weight < 0:
                raise ValueError(f"--source-weights.{name}: expected 0 or more, got {weight}")

    def _check_rate(self) -> None:
        """Refuse settings that make no schedule."""
        if self.min_lr > self.max_lr:
            raise ValueError(f"--min-lr {self.min_lr} is above --max-lr {self.max_lr}")
        if self.warmup_epochs >= self.first_cycle_epochs:
            raise ValueError(
                f"--warmup-epochs {self.warmup_epochs} must be shorter than "
                f"--first-cycle-epochs {self.first_cycle_epochs}"
            )
        if self.cycle_mult < 1:
            raise ValueError(f"--cycle-mult: expected at least 1, got {self.cycle_mult}")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"--gamma: expected above 0 and at most 1, got {self.gamma}")

    def _check_together(self) -> None:
        """Refuse settings that contradict each other."""
        both = sorted(set(self.folds) & set(self.val_folds))
        if both:
            raise ValueError(f"--folds and --val-folds share {both}: a fold is for one of them")
        if not self.folds or not self.val_folds:
            raise ValueError("--folds and --val-folds need at least one fold each")
        if not 0 <= self.init_share < 1:
            raise ValueError(f"--init-share: expected 0 or more and below 1, got {self.init_share}")
        if self.init_share and not self.init:
            raise ValueError("--init-share is that of --init: give the model to start from")
        if self.features and not self.init:
            raise ValueError("--features are those of --init: give the model that has them")
        if self.rate_by_minutes and not self.minutes:
            raise ValueError("--rate-by-minutes needs --minutes, by which the rate is to fall")
        if self.precision == "16" and self.accelerator == "cpu":
            raise ValueError("--precision 16 needs a GPU; on a processor use bf16 or 32")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    @staticmethod
    def from_dict(record: Mapping[str, Any]) -> TrainConfig:
        """Inverse of `to_dict`.

        Raises:
            ValueError: an unknown or missing setting, or a bad value.
        """
        if not isinstance(record, Mapping):
            raise ValueError(f"expected training settings by name, got {record!r}")
        refuse_unknown(record, {f.name for f in fields(TrainConfig)}, "training settings")
        values = dict(record)
        for name in ("data", "out"):
            if name not in values:
                raise ValueError(f"the training settings lack {flag(name)}")
            values[name] = Path(values[name])
        for name in ("folds", "val_folds", "sources"):
            if name in values:
                given = values[name]
                values[name] = tuple(given) if isinstance(given, list | tuple) else (given,)
        if isinstance(values.get("augment"), Mapping):
            known = {f.name for f in fields(AugmentConfig)}
            refuse_unknown(values["augment"], known, "augmentation settings")
            try:
                values["augment"] = AugmentConfig(**values["augment"])
            except TypeError as error:  # text where it compares numbers
                raise ValueError(f"augmentation settings: {error}") from None
        return TrainConfig(**values)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def commented_yaml() -> str:
    """Every setting with its default, its docstring above it as a comment."""
    lines = ["# histonuc train --config THIS.yaml --data DATA --out RUN"]
    for f, comment in _documented(TrainConfig):
        lines.append(f"\n# {comment}")
        if f.name == "augment":
            lines.append("augment:")
            for inner, text in _documented(AugmentConfig):
                lines += [f"  # {text}", f"  {inner.name}: {_yaml(inner)}"]
        elif f.default is MISSING and f.default_factory is MISSING:
            lines.append(f"# {f.name}: ...")
        else:
            lines.append(f"{f.name}: {_yaml(f)}")
    return "\n".join(lines) + "\n"


def _documented(kind: type) -> list[tuple[Field[Any], str]]:
    """The fields of a dataclass with the docstrings under them."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    comments: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(statement, ast.AnnAssign)
            and isinstance(statement.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            comments[statement.target.id] = str(following.value.value)
    return [(f, comments[f.name]) for f in fields(kind)]


def _yaml(f: Field[Any]) -> str:
    import yaml

    value = f.default
    if f.default_factory is not MISSING:
        value = f.default_factory()
    text: str = yaml.safe_dump(_plain(value), default_flow_style=True)
    return text.removesuffix("...\n").strip()
