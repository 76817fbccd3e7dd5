"""The classes of a trained network, fitted anew, and how far they can be trusted.

The network's outlines stay as they are, to the bit. Its class branch becomes a linear one that
reads all levels of the decoder, fitted to features that are averaged over the labelled nuclei of
several data sets, outlined ones and those that points mark (`histonuc prepare outline`). What the
features of these nuclei are like goes with it, so that the network can tell when others are unlike
them.

    python tools/fit_classes.py RUN --data STORE --sources consep7 crchisto --out MODEL.safetensors
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pooled import Pooled, collect

from histonuc.data.store import Store
from histonuc.metrics.calibration import LOG2_TEMPERATURES, apply_temperature
from histonuc.models.loading import find_checkpoint
from histonuc.models.network import Network
from histonuc.models.trust import Trust
from histonuc.models.zoo import build_network, load_network, save_network

log = logging.getLogger(__name__)

MIN_NUCLEI = 10
"""Of an image whose median trust is taken."""
MARKED = 0.05
"""Share of the images like those learned from that the threshold of trust marks."""


def fit_linear(
    x: NDArray[np.float32], candidates: NDArray[np.uint32], num_classes: int, penalty: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights (C, L) and bias (C,) of a linear classifier of nuclei with candidate sets.

    It minimises -log Σ p over each nucleus's set; sets count as the square root of their number, so
    that rare classes are not lost. The penalty is of the squared weights, for features of unit
    spread.
    """
    bits = ((candidates[:, None].astype(np.int64) >> np.arange(num_classes)) & 1).astype(bool)
    known = bits.any(1) & ~bits.all(1)
    mean, spread = x[known].mean(0), x[known].std(0) + 1e-3
    features = torch.from_numpy((x[known] - mean) / spread)
    allowed = torch.from_numpy(bits[known])
    _, index, count = np.unique(candidates[known], return_inverse=True, return_counts=True)
    weight = torch.from_numpy(1 / np.sqrt(count[index])).float()
    weight /= weight.sum()
    matrix = torch.zeros(num_classes, x.shape[1], requires_grad=True)
    bias = torch.zeros(num_classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([matrix, bias], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        log_p = (features @ matrix.T + bias).log_softmax(1)
        missed = -log_p.masked_fill(~allowed, -torch.inf).logsumexp(1)
        loss = (weight * missed).sum() + penalty * matrix.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    weights = matrix.detach().numpy() / spread
    return weights, bias.detach().numpy() - weights @ mean


def fit_temperature(
    probabilities: NDArray[np.float64], candidates: NDArray[np.uint32]
) -> tuple[float, float]:
    """The temperature under which the sets of nuclei are most likely, and their share right."""
    bits = ((candidates[:, None].astype(np.int64) >> np.arange(probabilities.shape[1])) & 1) > 0
    known = ~bits.all(1)
    right = bits[known][np.arange(known.sum()), probabilities[known].argmax(1)].mean()
    losses = []
    for temperature in 2.0**LOG2_TEMPERATURES:
        mended = apply_temperature(probabilities[known], temperature)
        losses.append(-np.log((mended * bits[known]).sum(1) + 1e-9).mean())
    return float(2.0 ** LOG2_TEMPERATURES[int(np.argmin(losses))]), float(right)


def fit_trust(
    learned: NDArray[np.float32], others: NDArray[np.float32], used: NDArray[np.bool_]
) -> Trust:
    """What the features (n, D) of nuclei that were learned from are like.

    Args:
        learned: of these nuclei.
        others: of nuclei like them that nothing was learned from.
        used: bool (D,), the features that are looked at.
    """
    mean = learned.mean(0)
    covariance = np.cov(learned[:, used].T)
    covariance += 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    whitening = np.zeros((int(used.sum()), len(used)), np.float32)
    whitening[:, used] = np.linalg.cholesky(np.linalg.inv(covariance)).T
    trust = Trust(
        centres=mean[None].astype(np.float32),
        whitening=whitening,
        distances=np.zeros(1, np.float32),
    )
    quantiles = np.quantile(trust.measure(others), np.linspace(0, 1, 201))
    return replace(trust, distances=quantiles.astype(np.float32))


def image_medians(
    trust: NDArray[np.float32],
    pooled: Pooled,
    rows: NDArray[np.bool_],
    by: str,
    least: int = MIN_NUCLEI,
) -> dict[str, list[float]]:
    """Median trust of each image with at least so many nuclei, by their source or organ."""
    medians: dict[str, list[float]] = {}
    names = getattr(pooled, by)
    for tile in np.unique(pooled.tile[rows]):
        here = rows & (pooled.tile == tile)
        if here.sum() >= least:
            medians.setdefault(str(names[here][0]), []).append(float(np.median(trust[here])))
    return medians


def find_threshold(
    trust: NDArray[np.float32],
    pooled: Pooled,
    rows: NDArray[np.bool_],
    least: int = MIN_NUCLEI,
) -> float:
    """The median trust that one in twenty images like those learned from has less of."""
    medians = image_medians(trust, pooled, rows, "source", least)
    return float(np.quantile(np.concatenate(list(medians.values())), MARKED))


def rebuild(network: Network, store: Store, features: dict[str, int]) -> Network:
    """The same network with a linear class branch of the store's classes, and with features."""
    options = dict(network.spec.representation_options)
    options.pop("class_weights", None)
    spec = replace(
        network.spec,
        label_space=store.label_space,
        representation_options=options,
        class_branch={"hidden": 0},
        features=features,
    )
    other = build_network(spec)
    other.trunk.load_state_dict(network.trunk.state_dict())
    rows = other.head.weight.shape[0]  # nucleus and geometry come first, whatever there is behind
    other.head.load_state_dict({k: v[:rows] for k, v in network.head.state_dict().items()})
    return other.eval()


@torch.no_grad()
def set_classes(network: Network, weights: NDArray[np.float32], bias: NDArray[np.float32]) -> None:
    """Give the class branch weights (C, L) of all levels, coarsest first, and its bias (C,)."""
    ends = np.cumsum([0, *network.trunk.level_channels])
    for project, first, last in zip(network.class_branch.project, ends[:-1], ends[1:], strict=True):
        project.weight.copy_(torch.from_numpy(weights[:, first:last, None, None]))
    network.class_branch.project[-1].bias.copy_(torch.from_numpy(bias))


@torch.no_grad()
def set_projections(
    network: Network, encoder: NDArray[np.float32], learned: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Let the network give the principal components of the nuclei learned from, by stride.

    Args:
        network: with projections of the strides wanted.
        encoder: features (n, D) of these strides, one after the other.
        learned: bool (n,), the nuclei whose components they are.

    Returns:
        The projected features of all nuclei, float32 (n, D').
    """
    projected, start = [], 0
    for projection in network.projections.values():
        part = encoder[:, start : start + projection.in_channels]
        start += projection.in_channels
        matrix, shift = principal(part[learned], projection.out_channels)
        projection.weight.copy_(torch.from_numpy(matrix[..., None, None]))
        projection.bias.copy_(torch.from_numpy(shift))
        projected.append(part @ matrix.T + shift)
    return np.concatenate(projected, axis=1)


def main() -> None:
    """Fit and write, from the command line."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="run, checkpoint or shipped model of the trunk compact")
    parser.add_argument("--data", type=Path, required=True, help="store in the classes wanted")
    parser.add_argument("--out", type=Path, required=True, help="file to write (.safetensors)")
    parser.add_argument("--sources", nargs="+", required=True, help="data sets that teach classes")
    parser.add_argument("--folds", type=int, nargs="+", default=[1, 2], help="to learn from")
    parser.add_argument("--val-folds", type=int, nargs="+", default=[3], help="to calibrate on")
    parser.add_argument("--penalty", type=float, default=1e-2, help="of the squared weights")
    parser.add_argument(
        "--features",
        type=json.loads,
        default={"4": 24, "8": 12, "16": 24, "32": 24},
        help="channels by stride that the network gives",
    )
    parser.add_argument(
        "--deviations",
        type=json.loads,
        default={"4": 16, "8": 8, "16": 12, "32": 8},
        help="of how many of them an embedding has the standard deviation, too",
    )
    parser.add_argument("--trust-strides", nargs="+", default=["4"], help="that trust reads")
    parser.add_argument("--learned-on", default="", help="what the nuclei are of, such as colon")
    parser.add_argument(
        "--min-nuclei", type=int, default=MIN_NUCLEI, help="of an image whose trust is measured"
    )
    parser.add_argument(
        "--min-class-probability",
        type=float,
        default=0.0,
        help="nuclei whose most probable class has less are called Uncertain",
    )
    args = parser.parse_args()
    network = load_network(find_checkpoint(Path(args.model)))
    store = Store.open(args.data)
    strides = sorted(map(int, args.features))
    pooled = collect(network, store, args.sources)
    encoder = pooled.join_encoder(strides)
    learned = np.isin(pooled.fold, args.folds)
    others = np.isin(pooled.fold, args.val_folds)
    num_classes = len(store.label_space)
    weights, bias = fit_linear(
        pooled.levels[learned], pooled.candidates[learned], num_classes, args.penalty
    )
    logits = pooled.levels @ weights.T + bias
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    for source in args.sources:
        here = others & (pooled.source == source)
        _, right = fit_temperature(probabilities[here], pooled.candidates[here])
        log.info("%s: %.3f of %d nuclei right", source, right, here.sum())
    temperature, _ = fit_temperature(probabilities[others], pooled.candidates[others])
    other = rebuild(network, store, args.features)
    other.set_representation_options({"temperature": round(temperature, 4)})
    set_classes(other, weights, bias)
    projected = set_projections(other, encoder, learned)
    used = [str(stride) in args.trust_strides for stride in strides]
    sizes = [args.features[str(stride)] for stride in strides]
    other.trust = fit_trust(projected[learned], projected[others], np.repeat(used, sizes))
    trust = other.trust.judge(projected)
    threshold = find_threshold(trust, pooled, others, args.min_nuclei)
    other.spec = replace(
        other.spec,
        deviations=args.deviations,
        learned_on=args.learned_on,
        trust_threshold=round(threshold, 3),
        min_class_probability=args.min_class_probability,
    )
    save_network(other, args.out)
    log.info("temperature %.3f; wrote %s", temperature, args.out)


def principal(
    x: NDArray[np.float32], number: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Matrix (k, D) and shift (k,) that give the first principal components with unit spread."""
    mean = x.mean(0)
    values, vectors = np.linalg.eigh(np.cov((x - mean).T))
    order = np.argsort(values)[::-1][:number]
    matrix = (vectors[:, order] / np.sqrt(np.maximum(values[order], 1e-9))).T.astype(np.float32)
    return matrix, (-matrix @ mean).astype(np.float32)


if __name__ == "__main__":
    main()
