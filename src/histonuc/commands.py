"""The commands as functions: what `histonuc NAME` runs and what `histonuc.NAME()` calls.

Each gathers the parts it needs, calls them, and returns an `Outcome`. Heavy imports live inside the
functions, so that ``histonuc --help`` answers at once and a plain install needs no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from histonuc.extras import require
from histonuc.training.config import TrainConfig, read_options


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a command did.

    Attributes:
        lines: for people.
        data: for programs; JSON-able.
        exit_code: 0 ok, 1 some items failed.
    """

    lines: list[str]
    data: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0


def prepare_pannuke(
    raw: Path,
    *,
    out: Path,
    folds: tuple[int, ...] = (),
    mpp: float = 0.25,
    overwrite: bool = False,
) -> Outcome:
    """Read PanNuke's official folds, check them, and write a store.

    Args:
        raw: Folder that holds the unpacked folds, in any of the layouts found in the wild.
        out: Store to write; must not exist.
        folds: Folds to read; all that are found when not given.
        mpp: Microns per pixel of the tiles.
        overwrite: Replace an existing store.
    """
    from histonuc.data.pannuke import prepare_pannuke as prepare

    result = prepare(raw, out, folds=folds, mpp=mpp, overwrite=overwrite)
    return Outcome(lines=result.lines(), data=result.to_dict())


def prepare_folder(
    directory: Path,
    *,
    out: Path,
    only: tuple[str, ...] = (),
    label_space: str = "pannuke",
    num_folds: int = 3,
    mpp: dict[str, float] | None = None,
    seed: int = 0,
    overwrite: bool = False,
) -> Outcome:
    """Read a folder of labelled images (index.csv, images, instances, optional types).

    Args:
        directory: Folder with index.csv and one folder a data set.
        out: Store to write; must not exist.
        only: Names of the data sets to read; all when not given.
        label_space: Classes of the store: pannuke, consep, three or nucleus.
        num_folds: Folds to split into, by patient (or image), stratified by data set.
        mpp: Microns per pixel of a data set that does not state it: --mpp.nuinsseg 0.17.
        seed: Seed of the split.
        overwrite: Replace an existing store.
    """
    from histonuc.data.formats import prepare_folder as prepare

    result = prepare(
        directory,
        out,
        only=only,
        label_space=label_space,
        num_folds=num_folds,
        mpp=mpp or {},
        seed=seed,
        overwrite=overwrite,
    )
    return Outcome(lines=result.lines(), data=result.to_dict())


def synth(
    *,
    out: Path,
    tiles: int = 200,
    folds: int = 3,
    tile_px: int = 256,
    seed: int = 0,
) -> Outcome:
    """Draw H&E-like tiles with exact labels in PanNuke's official layout.

    Args:
        out: Folder to write the folds into.
        tiles: Tiles in all, spread over the folds.
        folds: Number of folds.
        tile_px: Side of a tile in pixels.
        seed: The same seed draws the same tiles.
    """
    from histonuc.data.synthetic import write_synthetic

    write_synthetic(out, tiles=tiles, seed=seed, folds=folds, tile_px=tile_px)
    return Outcome(
        lines=[
            f"drew {tiles} tiles in {folds} folds into {out}",
            f"next: histonuc prepare pannuke {out} --out DATA",
        ],
        data={"out": str(out), "tiles": tiles, "folds": folds},
    )


def info(path: Path, *, scene: int | None = None) -> Outcome:
    """Say what a path is: a slide or image, a store, a run, a checkpoint, a prediction.

    Args:
        path: What to look at.
        scene: Which picture of a slide that holds several.
    """
    from histonuc.inspection import describe

    facts = describe(path, scene=scene)
    return Outcome(lines=[f"{key}: {value}" for key, value in facts.items()], data=facts)


def models() -> Outcome:
    """List the shipped models, and every trunk with its parameters and GFLOPs."""
    from histonuc.extras import is_installed
    from histonuc.inference.runtime import list_shipped

    lines = ["shipped models (histonuc predict --model NAME)"]
    shipped = [model.to_dict() for model in list_shipped()]
    lines += [
        f"  {row['name']:<18} {row['trunk']} × {row['representation']}, {row['mpp']} mpp, "
        f"{row['size_mb']:.1f} MB: {', '.join(row['classes'])}"
        for row in shipped
    ]
    if not is_installed("train"):
        lines += ["", "the trunks need torch to be listed: pip install 'histonuc[train]'"]
        return Outcome(lines=lines, data={"shipped": shipped})
    from histonuc.representations import REPRESENTATIONS
    from histonuc.zoo import model_table

    trunks = model_table()
    lines += ["", f"{'trunk':<22}{'parameters':>14}{'GFLOPs at 256²':>18}"]
    lines += [
        f"{row.trunk:<22}{row.num_parameters / 1e6:>12.2f} M{row.gflops:>18.1f}" for row in trunks
    ]
    lines += ["", f"every trunk works with every representation: {', '.join(REPRESENTATIONS)}"]
    return Outcome(
        lines=lines, data={"shipped": shipped, "trunks": [asdict(row) for row in trunks]}
    )


def config_train() -> Outcome:
    """Print the configuration of `histonuc train` with every default and its comment."""
    from histonuc.training.config import commented_yaml

    text = commented_yaml()
    return Outcome(lines=[text.rstrip("\n")], data={"yaml": text})


def train(config: Annotated[TrainConfig, Parameter(name="*")]) -> Outcome:
    """Train one network; --config FILE gives values that flags override.

    Args:
        config: All settings.
    """
    require("train", "histonuc train")
    from histonuc.training.loop import train as run_training

    run = run_training(config)
    return Outcome(
        lines=[
            f"run folder: {run}",
            f"next: histonuc evaluate {run} --data {config.data} --folds N --out {run}/scores",
        ],
        data={"run": str(run)},
    )


def crossval(
    config: Annotated[TrainConfig, Parameter(name="*")], *, symmetric: bool = False
) -> Outcome:
    """Train and test one network on each of PanNuke's three rotations; --resume goes on.

    Args:
        config: All settings of each training; --folds and --val-folds are the rotation's.
        symmetric: Rotations that test every fold once (train/validate/test 1/2/3, 2/3/1, 3/1/2), in
            place of the official ones (1/2/3, 2/1/3, 3/2/1).
    """
    require("train", "histonuc crossval")
    from histonuc.evaluation.rotations import CROSSVAL_FILE, rotation_lines
    from histonuc.training.crossval import crossval as run_rotations

    summary = run_rotations(config, symmetric=symmetric)
    lines = [*rotation_lines(summary), f"wrote {config.out / CROSSVAL_FILE}"]
    return Outcome(lines=lines, data=summary)


def evaluate(
    model: str = "",
    *,
    data: Path,
    out: Path,
    folds: tuple[int, ...] = (),
    sources: tuple[str, ...] = (),
    part: str = "",
    predictions: Path | None = None,
    types: dict[str, str] | None = None,
    binary_only: bool = False,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto",
    flips: bool = False,
) -> Outcome:
    """Score a model, or predictions made elsewhere, on folds of a store and write scores.json.

    Args:
        model: A run folder, a checkpoint, an exported model file, or a shipped model's name.
        data: Store, as `histonuc prepare` writes it.
        out: Folder for scores.json and the tables beside it.
        folds: Folds to score; all when not given.
        sources: Data sets to score; all when not given.
        part: Score only a part of these tiles, 2/8 the second of eight; see `merge-scores`.
        predictions: Instead of a model: a folder of label images or of HoVer-Net or CellViT JSON,
            or an npy in PanNuke's shape.
        types: Class of each type of the predictions: --types.1 Neoplastic.
        binary_only: Leave classes out, so that any model can be scored on any store.
        device: auto, cpu, cuda:0 or mps.
        precision: As for `histonuc predict`.
        flips: As for `histonuc predict`.
    """
    if bool(model) == bool(predictions):
        raise ValueError("expected either a model or --predictions PATH to evaluate")
    if types and not predictions:
        raise ValueError("--types names the classes of --predictions; a model knows its own")
    if predictions is not None:
        from histonuc.inference.scoring import score_files

        evaluation, scores = score_files(
            predictions,
            data,
            out,
            folds=folds,
            sources=sources,
            part=part,
            type_map=types,
            binary_only=binary_only,
        )
    else:
        from histonuc.inference.scoring import score_model

        evaluation, scores = score_model(
            model,
            data,
            out,
            folds=folds,
            sources=sources,
            part=part,
            binary_only=binary_only,
            device=device,
            precision=precision,
            flips=flips,
        )
    return Outcome(lines=[*evaluation.lines(), f"wrote {out}/scores.json"], data=scores)


def merge_scores(scores: tuple[Path, ...], *, out: Path) -> Outcome:
    """Make one score folder of several, the same as if all their tiles had been scored at once.

    Args:
        scores: Folders of `histonuc evaluate`, each of other tiles of one store, by one model.
        out: Folder for the scores.json of all and the tables beside it.
    """
    from histonuc.evaluation import merge_scores as merge

    evaluation, merged = merge(scores, out)
    return Outcome(lines=[*evaluation.lines(), f"wrote {out}/scores.json"], data=merged)


def compare(scores: tuple[Path, ...], *, out: Path | None = None, seed: int = 0) -> Outcome:
    """Compare models on the same tiles: paired differences with 95 % intervals and tests.

    Args:
        scores: Folders of `histonuc evaluate` or `histonuc crossval`; all against the first.
        out: Folder for compare.json and the figure.
        seed: Seed of the bootstrap and the permutation test.
    """
    from histonuc.evaluation.comparison import COMPARISON_FILE, comparison_lines
    from histonuc.evaluation.comparison import compare as compare_scores

    if out is not None:
        require("report", "histonuc compare --out")
    result = compare_scores(scores, seed=seed)
    lines = comparison_lines(result)
    if out is not None:
        from histonuc.files import write_json
        from histonuc.reporting.forest import write_forest_plot

        figures = write_forest_plot(result, out)
        write_json(result, out / COMPARISON_FILE)
        lines += ["", *(f"wrote {path}" for path in (*figures, out / COMPARISON_FILE))]
    return Outcome(lines=lines, data=result)


def report(
    runs: tuple[Path, ...] = (),
    *,
    out: Path,
    scores: tuple[Path, ...] = (),
    data: Path | None = None,
) -> Outcome:
    """Write one self-contained HTML of runs and their scores.

    Args:
        runs: Run folders of `histonuc train`, or folders of `histonuc crossval`.
        out: HTML file to write.
        scores: Score folders of `histonuc evaluate`; those inside the runs are found by themselves.
        data: Store, for the preview of the data.
    """
    require("report", "histonuc report")
    from histonuc.reporting import report as write_report

    path = write_report(runs, out, scores=scores, data=data)
    return Outcome(lines=[f"open {path}"], data={"report": str(path)})


def predict(
    paths: tuple[Path, ...],
    *,
    out: Path,
    model: str = "default",
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto",
    flips: bool = False,
    mpp: float | None = None,
    tile_px: int = 1024,
    batch_size: int = 1,
    scene: int | None = None,
    icc: bool = False,
    regions: Path | None = None,
    cluster: str = "",
    geojson: bool = True,
    overwrite: bool = False,
) -> Outcome:
    """Find, outline and classify the nuclei of tiles, images, folders and slides.

    Args:
        paths: Images, folders of images, or slides.
        out: Folder for the results, one folder inside for each input.
        model: A shipped model's name, an exported file, a run folder or a checkpoint.
        device: auto, cpu, cuda:0 or mps.
        precision: Arithmetic; auto is int8 where a shipped model has an int8 version and the
            processor is an x86, else bf16 where the processor has it, else fp32, which gives the
            same everywhere. Of a checkpoint it is fp32.
        flips: Average over four mirrorings: a little better, at four times the network's time.
        mpp: Microns per pixel at level 0; needed where a slide does not state it.
        tile_px: Side of the network's input, at the model's mpp.
        batch_size: Tiles a forward pass; raise it on a GPU.
        scene: Which picture of a file that holds several.
        icc: Turn colours into sRGB by the profile inside each file; the models saw none turned.
        regions: Analyse these instead of all tissue: GeoJSON polygons in level-0 pixels or a PNG
            mask of the slide; or a folder with one NAME.geojson or NAME.png for each input.
        cluster: A Dask scheduler's address, or local:4 for four processes of this machine.
        geojson: Write nuclei.geojson for QuPath too, most of a result's bytes; `histonuc export`
            can write it later.
        overwrite: Do finished inputs again.
    """
    from histonuc.inference.memory import share_arenas
    from histonuc.inference.predict import predict as run_prediction

    share_arenas()
    summary = run_prediction(
        paths,
        out,
        model=model,
        device=device,
        precision=precision,
        flips=flips,
        mpp=mpp,
        tile_px=tile_px,
        batch_size=batch_size,
        scene=scene,
        icc=icc,
        regions=regions,
        cluster=cluster,
        geojson=geojson,
        overwrite=overwrite,
    )
    return Outcome(
        lines=summary.lines(), data=summary.to_dict(), exit_code=1 if summary.failed else 0
    )


def export(
    out: Path,
    *,
    to: Literal[
        "geojson",
        "geojson.gz",
        "geoparquet",
        "csv",
        "coco",
        "ome-tiff",
        "ome-zarr",
        "anndata",
        "dicom",
    ] = "geojson",
    centroids: bool = False,
    slide: Path | None = None,
) -> Outcome:
    """Write the nuclei of a prediction in another format, beside its table.

    Args:
        out: Folder that `histonuc predict` wrote, of one input or of many.
        to: Format.
        centroids: Points instead of outlines, in a file of their own; geojson and geojson.gz only.
        slide: The slide's own DICOM file, whose patient and study the annotations belong to;
            dicom only.
    """
    from histonuc.exports import export_folder

    summary = export_folder(out, to, centroids=centroids, slide=slide)
    return Outcome(
        lines=summary.lines(), data=summary.to_dict(), exit_code=1 if summary.failed else 0
    )


def export_model(
    model: Path,
    *,
    out: Path,
    to: Literal["onnx", "openvino", "safetensors"] = "onnx",
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    data: Path | None = None,
    folds: tuple[int, ...] = (),
    representation_options: dict[str, Any] | None = None,
) -> Outcome:
    """Turn a trained model into a file that predicts without torch, and compare the two.

    Args:
        model: A run folder, a checkpoint or a shipped model's name.
        out: File to write, *.onnx, or *.xml (with *.bin beside it) for openvino.
        to: Format of the file; safetensors is one to train on from, and needs torch.
        precision: Number format of the stored weights; fp16 halves the file and changes nothing
            else, int8 is arithmetic too and needs --data.
        data: Store with real tiles, for int8's ranges and for the comparison.
        folds: Folds of the store to use, those of the training for int8; all when not given.
        representation_options: Options of the decoder to change:
            --representation-options.min-area-px 60.
    """
    from histonuc.inference.model_export import export_model as export

    parity = export(
        model,
        out,
        to=to,
        precision=precision,
        representation_options=read_options(representation_options or {}),
        data=data,
        folds=folds,
    )
    size = sum(f.stat().st_size for f in (out, out.with_suffix(".bin")) if f.is_file()) / 1e6
    return Outcome(
        lines=[f"wrote {out} ({size:.1f} MB)", *parity.lines()],
        data={"file": str(out), "size_mb": size, **parity.to_dict()},
    )


def demo(slide: Path | None = None, *, out: Path = Path("demo-out")) -> Outcome:
    """Predict on a real slide with the shipped model, then say what to open.

    Args:
        slide: Your own slide; a small public one is fetched when not given.
        out: Folder for the results.
    """
    from histonuc.demo_slide import demo_slide

    path = slide or demo_slide()
    outcome = predict((path,), out=out)
    if outcome.exit_code:
        return outcome
    folder = outcome.data["items"][0]["folder"]
    lines = [
        *outcome.lines,
        "",
        f"look at   {folder}/overview.jpg and {folder}/detail.jpg",
        f"in QuPath open {path}, then drag {folder}/nuclei.geojson onto it",
        f"table     {folder}/nuclei.parquet",
    ]
    return Outcome(lines=lines, data=outcome.data, exit_code=outcome.exit_code)
