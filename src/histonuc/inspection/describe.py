"""`histonuc info`: say what a path is, cheaply, without running a model or decoding pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from histonuc.evaluation.glossary import CROSSVAL, name_score
from histonuc.evaluation.rotations import CROSSVAL_FILE, spread_text
from histonuc.exports.summary import SUMMARY_FILE
from histonuc.files import reading
from histonuc.inspection.description import Description, plain_description, to_lines
from histonuc.inspection.results import describe_prediction

if TYPE_CHECKING:
    from histonuc.models.model import ModelSpec


def describe(path: Path, *, scene: int | None = None) -> Description:
    """Facts about a slide, image, store, run, checkpoint, model file or prediction.

    Args:
        path: file or folder.
        scene: which picture of a slide that holds several.

    Raises:
        ValueError: nothing is there, or it is none of these.
    """
    if not path.exists():
        raise ValueError(f"nothing at {path}")
    written: list[tuple[bool, Callable[[Path], Description]]] = [
        ((path / "store.json").is_file(), _store),
        ((path / "metrics.jsonl").is_file(), _run),
        ((path / CROSSVAL_FILE).is_file(), _crossval),
        ((path / SUMMARY_FILE).is_file(), describe_prediction),
        ((path / "classifier.safetensors").is_file(), _classifier),
        (path.name == "classifier.safetensors", _classifier),
        ((path / "scores.json").is_file(), _scores),
        ((path / "model.safetensors").is_file() or path.suffix == ".safetensors", _checkpoint),
    ]
    for matches, read in written:
        if matches:
            with reading(path, "content that histonuc wrote"):
                return read(path)
    if path.suffix in (".onnx", ".xml") and path.is_file():
        return _model_file(path)
    if path.is_dir() and not _is_slide_folder(path):
        raise ValueError(
            f"{path} is a folder, but no store (store.json), run (metrics.jsonl), checkpoint "
            "(model.safetensors), scores (scores.json), cross-validation (crossval.json), "
            "classifier (classifier.safetensors) or prediction (summary.json)"
        )
    from histonuc.inspection.slides import describe_slide

    return describe_slide(path, scene)


def _classifier(path: Path) -> Description:
    from histonuc.teaching.classifier import read_classifier

    classifier, sha256 = read_classifier(path)
    crossed = classifier.facts.get("cross_validation", {})
    return plain_description(
        {
            "kind": "classifier",
            "classes": ", ".join(classifier.label_space.classes),
            "labels": classifier.facts.get("classes"),
            "slides": classifier.facts.get("slides"),
            "model": classifier.model or "none: shape, stain and neighbourhood alone",
            "macro_f1": crossed.get("macro_f1"),
            "validated_by": classifier.facts.get("by"),
            "sha256": sha256,
        }
    )


def _store(path: Path) -> Description:
    from histonuc.data.store import Store

    store = Store.open(path)
    tiles, points, num_unlabelled = store.tiles, {}, len(store.select_unlabelled())
    if {"points", "sparse points"} & set(tiles["labels"].to_pylist()):
        outlines = store.point_outlines
        points = {
            "points": sum(len(store.points(tile)) for tile in range(len(store))),
            "outlined_by": "nothing" if outlines is None else outlines.model.get("name"),
        }
    return plain_description(
        {
            "kind": "store",
            "classes": ", ".join(store.label_space.classes),
            "folds": store.folds,
            "tiles": tiles.num_rows,
            **({"unlabelled": num_unlabelled} if num_unlabelled else {}),
            "nuclei": sum(tiles["num_nuclei"].to_pylist()),
            **points,
            "sources": sorted(set(tiles["source"].to_pylist())),
            "tissues": sorted(set(tiles["tissue"].to_pylist())),
        }
    )


def _run(path: Path) -> Description:
    with (path / "metrics.jsonl").open() as lines:
        epochs = [row for row in map(json.loads, lines) if row.get("event") == "epoch"]
    facts: dict[str, Any] = {"kind": "run", "epochs": len(epochs)}
    if (path / "checkpoints" / "best").is_dir():
        facts |= _checkpoint(path / "checkpoints" / "best").facts
    facts |= {"kind": "run", "last": epochs[-1] if epochs else None}
    shown: dict[str, Any] = {}
    if epochs:
        scores = epochs[-1]["val"] or {}
        shown = {"step": epochs[-1]["step"]}
        shown |= {name_score(name): scores[name] for name in CROSSVAL if name in scores}
    return Description(facts=facts, lines=to_lines((facts | {"last": shown or "none"}).items()))


def _scores(path: Path) -> Description:
    scores = json.loads((path / "scores.json").read_text(encoding="utf-8"))
    wanted = ("model", "data", "num_tiles", "num_nuclei", "overall")
    facts = {"kind": "scores", **{key: scores[key] for key in wanted if key in scores}}
    model = scores.get("model")
    rows = {
        **facts,
        "model": model.get("name") if isinstance(model, dict) else model,
        "overall": {name_score(name): scores["overall"].get(name) for name in CROSSVAL},
    }
    return Description(facts=facts, lines=to_lines(rows.items()))


def _crossval(path: Path) -> Description:
    summary = json.loads((path / CROSSVAL_FILE).read_text(encoding="utf-8"))
    return plain_description(
        {
            "kind": "cross-validation",
            "scheme": summary["scheme"],
            "rotations": [row["folder"] for row in summary["rotations"]],
            **{name: spread_text(summary["overall"][name]) for name in CROSSVAL},
        }
    )


def _checkpoint(path: Path) -> Description:
    from histonuc.models.model import SPEC_KEY, ModelSpec

    file = path / "model.safetensors" if path.is_dir() else path
    # The header of a safetensors file is JSON behind its length: no torch needed to read it.
    with file.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if length > file.stat().st_size:
            raise ValueError(f"its header would have {length} bytes")
        text = json.loads(stream.read(length)).get("__metadata__", {}).get(SPEC_KEY)
    if text is None:
        return plain_description({"kind": "checkpoint", "note": "no histonuc description inside"})
    return plain_description({"kind": "checkpoint", **_spec_facts(ModelSpec.from_json(text))})


def _model_file(path: Path) -> Description:
    from histonuc.models.exported import read_exported

    size_mb = round(path.stat().st_size / 1e6, 1)
    facts = _spec_facts(read_exported(path).spec)
    return plain_description({"kind": "model file", "size_mb": size_mb, **facts})


def _spec_facts(spec: ModelSpec) -> dict[str, str | float]:
    return {
        "trunk": spec.trunk,
        "representation": spec.representation,
        "mpp": spec.mpp,
        "classes": ", ".join(spec.label_space.classes),
        **({"learned_on": spec.learned_on} if spec.learned_on else {}),
    }


def _is_slide_folder(path: Path) -> bool:
    from histonuc.slides import is_slide_folder

    return is_slide_folder(path)
