"""Commands that find nuclei."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from histonuc.commands.outcome import Outcome
from histonuc.inference.options import DEFAULTS, PredictOptions


def predict(
    paths: tuple[Path, ...],
    *,
    out: Path,
    options: Annotated[PredictOptions, Parameter(name="*")] = DEFAULTS,
) -> Outcome:
    """Find, outline and classify the nuclei of tiles, images, folders and slides.

    Args:
        paths: Images, folders of images, or slides.
        out: Folder for the results, one folder inside for each input.
        options: All options.
    """
    from histonuc.inference.cluster import share_arenas
    from histonuc.inference.predict import predict

    share_arenas()
    if options.classifier is None:
        summary = predict(paths, out, options)
    else:
        from histonuc.teaching.predicting import predict_classified

        summary = predict_classified(paths, out, options, options.classifier)
    return Outcome(
        lines=summary.lines(), data=summary.to_dict(), exit_code=1 if summary.failed else 0
    )


def summarise(out: Path, *, uncorrected: bool = False, regions: Path | None = None) -> Outcome:
    """Count the nuclei of results again with their corrections, and write the tables anew.

    The tables are summary.csv and summary.parquet of many inputs, and regions.csv of inputs with
    drawn regions. The predicted nuclei stay as they are.

    Args:
        out: Folder that `histonuc predict` wrote, of one input or of many.
        uncorrected: Count as predicted, without corrections.
        regions: File or folder of the drawn regions, where they are not where they were.
    """
    from histonuc.inference.recounting import summarise_results

    summary = summarise_results(out, uncorrected=uncorrected, regions=regions)
    return Outcome(
        lines=summary.lines(), data=summary.to_dict(), exit_code=1 if summary.failed else 0
    )


def demo(slide: Path | None = None, *, out: Path = Path("demo-out")) -> Outcome:
    """Predict on a real slide with the shipped model, then say what to open.

    Args:
        slide: Your own slide; a small public one is fetched when not given, and put into the folder
            of the results.
        out: Folder for the results.
    """
    from histonuc.demo_slide import put_demo_slide

    path = slide or put_demo_slide(out)
    outcome = predict((path,), out=out)
    if outcome.exit_code:
        return outcome
    folder = outcome.data["items"][0]["folder"]
    lines = [
        *outcome.lines,
        "",
        f"pictures:  {folder}/overview.jpg and {folder}/detail.jpg",
        f"in QuPath: open {path}, then drag {folder}/nuclei.geojson onto it",
        f"table:     {folder}/nuclei.parquet",
        f"your own:  {_program()} predict YOUR_SLIDE.svs --out OUT",
    ]
    return Outcome(lines=lines, data=outcome.data, exit_code=outcome.exit_code)


def _program() -> str:
    """What to type to run this program: its path, or its name where Python runs it otherwise."""
    path = Path(sys.argv[0])
    return str(path) if path.stem == "histonuc" else "histonuc"
