"""What embeddings cost: time of `predict` with and without, bytes, and the classifier of the page.

    python benchmarks/bench_embeddings.py SLIDE --model MODEL [--repeats 4] [--live 1000000]

Seconds are of the processor (user and system, all threads): runs with and without take turns, and
the machine may be busy. The second part makes so many nuclei up, and fits, classifies and proposes
as the page does.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from histonuc.exports.embeddings import EMBEDDINGS_FILE, Embeddings
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import predict
from histonuc.models.engines import num_cores
from histonuc.models.loading import load_model
from histonuc.models.model import Model
from histonuc.taxonomy import LabelSpace
from histonuc.teaching import LiveClassifier
from histonuc.teaching.features import MEASURED, make_features


def run(slide: Path, model: Model, embeddings: bool) -> dict[str, float]:
    """Seconds, nuclei and bytes of one prediction."""
    options = PredictOptions(embeddings=embeddings, geojson=False)
    with tempfile.TemporaryDirectory() as out:
        start = time.process_time()
        summary = predict([slide], out, options, model=model)
        seconds = time.process_time() - start
        if summary.failed:
            raise SystemExit(summary.failed[0]["error"])
        folder = Path(summary.items[0].folder)
        file = folder / EMBEDDINGS_FILE
        return {
            "seconds": seconds,
            "nuclei": summary.items[0].num_nuclei,
            "table": (folder / "nuclei.parquet").stat().st_size,
            "embeddings": file.stat().st_size if embeddings else 0,
        }


def timed(name: str, work: Callable[[], Any]) -> Any:
    cpu, wall = time.process_time(), time.perf_counter()
    found = work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    print(f"| {name} | {cpu:.2f} | {wall:.2f} |", flush=True)
    return found


def live(num: int) -> None:
    rng = np.random.default_rng(0)
    values = np.empty((num, 128), np.float16)
    for start in range(0, num, 100_000):
        values[start : start + 100_000] = rng.normal(size=values[start : start + 100_000].shape)
    measured = rng.normal(size=(num, len(MEASURED))).astype(np.float32)
    place = rng.uniform(0, 15 * num**0.5, (num, 2))
    embeddings = Embeddings(values=values, model="made up", model_sha256="")
    print(f"\n{num:,} nuclei, 128 features\n\n| | CPU s | wall s |\n|---|---|---|")
    features = timed("neighbourhood, once", lambda: make_features(measured, place, embeddings))
    page = LiveClassifier(features=features)
    timed("spread of the features, once", lambda: page.standard)
    space = LabelSpace(name="made-up", classes=tuple("ABCDE"))
    for count in (50, 800):
        rows = rng.permutation(num)[:count]
        labels = {
            int(i) + 1: "ABCDE"[int(values[i, 0] > 0) + 2 * int(values[i, 1] > 0.5)] for i in rows
        }
        classifier = timed(f"fit of {count} labels", lambda labels=labels: page.fit(labels, space))
        found = timed("classify all", lambda classifier=classifier: page.classify(classifier))
        timed("propose ten", lambda labels=labels, found=found: page.propose(labels, (), found))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("slide", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--live", type=int, default=1_000_000)
    args = parser.parse_args()
    model = load_model(args.model, streams=num_cores())
    run(args.slide, model, True)  # compiles
    runs: dict[bool, list[dict[str, float]]] = {False: [], True: []}
    for turn in range(args.repeats):
        for embeddings in (bool(turn % 2), not turn % 2):
            runs[embeddings].append(run(args.slide, model, embeddings))
    without, with_them = (np.median([one["seconds"] for one in runs[key]]) for key in (False, True))
    last = runs[True][-1]
    print(f"{args.slide.name}, {last['nuclei']:,} nuclei, {model.name}")
    print(f"without {without:.2f} s, with {with_them:.2f} s: {with_them / without - 1:+.1%}")
    for name in ("table", "embeddings"):
        print(f"{name}: {last[name] / last['nuclei']:.0f} bytes a nucleus")
    if args.live:
        live(args.live)


if __name__ == "__main__":
    main()
