"""`histonuc info`: say what a path is, cheaply, without loading a model or reading pixels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from histonuc.evaluation.glossary import CROSSVAL
from histonuc.evaluation.rotations import CROSSVAL_FILE, spread_text
from histonuc.files import is_sealed, reading


def describe(path: Path, *, scene: int | None = None) -> dict[str, Any]:
    """Facts about a slide, image, store, run, checkpoint, model file or prediction.

    Args:
        path: file or folder.
        scene: which picture of a slide that holds several.

    Raises:
        ValueError: nothing is there, or it is none of these.
    """
    if not path.exists():
        raise ValueError(f"nothing at {path}")
    own: list[tuple[bool, Callable[[Path], dict[str, Any]]]] = [
        ((path / "store.json").is_file(), _store),
        ((path / "metrics.jsonl").is_file(), _run),
        ((path / CROSSVAL_FILE).is_file(), _crossval),
        ((path / "summary.json").is_file(), _prediction),
        ((path / "scores.json").is_file(), _scores),
        ((path / "model.safetensors").is_file() or path.suffix == ".safetensors", _checkpoint),
    ]
    for matches, read in own:
        if matches:
            with reading(path, "content that histonuc wrote"):
                return read(path)
    if path.suffix == ".onnx":
        return _model_file(path)
    if path.is_file() or _is_slide_folder(path):
        return _slide(path, scene)
    raise ValueError(
        f"{path} is a folder, but no store (store.json), run (metrics.jsonl), checkpoint "
        "(model.safetensors), scores (scores.json), cross-validation (crossval.json) or "
        "prediction (summary.json)"
    )


def _store(path: Path) -> dict[str, Any]:
    from histonuc.data.store import Store

    store = Store.open(path)
    tiles = store.tiles
    return {
        "kind": "store",
        "classes": ", ".join(store.label_space.classes),
        "folds": store.folds,
        "tiles": tiles.num_rows,
        "nuclei": sum(tiles["num_nuclei"].to_pylist()),
        "sources": sorted(set(tiles["source"].to_pylist())),
        "tissues": sorted(set(tiles["tissue"].to_pylist())),
    }


def _run(path: Path) -> dict[str, Any]:
    with (path / "metrics.jsonl").open() as lines:
        epochs = [row for row in map(json.loads, lines) if row.get("event") == "epoch"]
    facts: dict[str, Any] = {"kind": "run", "epochs": len(epochs)}
    if (path / "checkpoints" / "best").is_dir():
        facts |= _checkpoint(path / "checkpoints" / "best")
    return facts | {"kind": "run", "last": epochs[-1] if epochs else None}


def _prediction(path: Path) -> dict[str, Any]:
    record = json.loads((path / "summary.json").read_text())
    changed = {} if is_sealed(record) else {"note": "summary.json was changed since it was written"}
    return {"kind": "prediction", **changed, **record}


def _scores(path: Path) -> dict[str, Any]:
    scores = json.loads((path / "scores.json").read_text())
    wanted = ("model", "data", "num_tiles", "num_nuclei", "overall")
    return {"kind": "scores", **{key: scores[key] for key in wanted if key in scores}}


def _crossval(path: Path) -> dict[str, Any]:
    summary = json.loads((path / CROSSVAL_FILE).read_text())
    return {
        "kind": "cross-validation",
        "scheme": summary["scheme"],
        "rotations": [row["folder"] for row in summary["rotations"]],
        **{name: spread_text(summary["overall"][name]) for name in CROSSVAL},
    }


def _checkpoint(path: Path) -> dict[str, Any]:
    file = path / "model.safetensors" if path.is_dir() else path
    # The header of a safetensors file is JSON behind its length: no torch needed to read it.
    with file.open("rb") as stream:
        header = json.loads(stream.read(int.from_bytes(stream.read(8), "little")))
    spec = json.loads(header.get("__metadata__", {}).get("histonuc", "{}"))
    return {"kind": "checkpoint", **_spec_facts(spec)}


def _model_file(path: Path) -> dict[str, Any]:
    from histonuc.models.loading import load_model

    runtime = load_model(str(path))
    return {
        "kind": "model file",
        "size_mb": round(path.stat().st_size / 1e6, 1),
        "mpp": runtime.spec.mpp,
        "classes": ", ".join(runtime.spec.label_space.classes),
    }


def _spec_facts(spec: dict[str, Any]) -> dict[str, Any]:
    if not spec:
        return {"note": "no histonuc description inside"}
    return {
        "trunk": spec["trunk"],
        "representation": spec["representation"],
        "mpp": spec["mpp"],
        "classes": ", ".join(spec["label_space"]["classes"]),
    }


def _is_slide_folder(path: Path) -> bool:
    from histonuc.slides import is_slide_folder

    return is_slide_folder(path)


def _slide(path: Path, scene: int | None) -> dict[str, Any]:
    from histonuc.slides import open_slide

    with open_slide(path, scene=scene) as slide:
        width, height = slide.size
        facts: dict[str, Any] = {
            "kind": "slide or image",
            "reader": slide.reader,
            "size_px": f"{width} x {height}",
            "mpp": slide.mpp if slide.mpp is not None else "not stated: give --mpp",
        }
        if slide.mpp is not None and slide.mpp_xy is not None:
            facts["mpp_xy"] = " x ".join(f"{value:.6g}" for value in slide.mpp_xy)
            facts["size_mm"] = f"{width * slide.mpp / 1e3:.2f} x {height * slide.mpp / 1e3:.2f}"
        levels = zip(slide.levels, slide.downsamples, strict=True)
        facts["levels"] = [f"{w} x {h}, downsample {scale:.6g}" for (w, h), scale in levels]
        facts["associated"] = list(slide.associated())
        facts["icc_profile"] = "yes, see --icc" if slide.icc_profile else "no"
        facts["properties"] = dict(slide.properties)
        return facts
