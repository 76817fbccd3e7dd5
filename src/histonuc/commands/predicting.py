"""Commands that find nuclei and write them in the formats of others."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from histonuc.commands.outcome import Outcome


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
