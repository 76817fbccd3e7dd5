"""What other viewers read of a result, and how each is started and moved."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from histonuc.exports.summary import read_summary
from histonuc.exports.table import read_table
from histonuc.nuclei import Nuclei

CELL_UM = 256
MOST_OUTLINES = 200_000
"""Of GeoJSON; a million make 1.1 GB, more than the 0.5 GB that Chromium's strings may have."""


@dataclass(frozen=True)
class Case:
    """A result, and what the peers read of it.

    Attributes:
        folder: has the peers' files.
        slide_name: name of the slide in `folder`.
        width: of the slide in pixels.
        px: pixels of the slide that one pixel of the screen shows at 20x.
        first: (x, y) of the place that is shown first, in pixels of the slide.
        second: (x, y) of the place that is jumped to.
        classes: their names.
        colours: RGB, 0 to 255, of the classes.
    """

    result: Path
    folder: Path
    slide_name: str
    width: int
    px: float
    first: tuple[int, int]
    second: tuple[int, int]
    classes: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Viewer:
    """How one viewer is started and moved.

    Attributes:
        command: starts its server; ``PORT`` stands for the port.
        address: of its page; None where the server prints it.
        ready: JavaScript that is true when `opened` can run; empty where nothing has to.
        opened: JavaScript that makes it show the nuclei; empty where it does by itself.
        jump: JavaScript that moves it to the second place.
    """

    command: list[str]
    address: str | None
    jump: str
    ready: str = ""
    opened: str = ""


def viewers(case: Case, venvs: Path) -> dict[str, Viewer]:
    """All viewers by name."""
    folder, (x, y), px = case.folder, case.second, case.px
    box = f"{x - 960 * px},{y - 540 * px},{1920 * px},{1080 * px}"
    fit = f"v.viewport.fitBounds(v.world.getItemAt(0).imageToViewportRectangle({box}),true)"
    first = ",".join(map(str, [*case.first, 20]))
    server = [str(venvs / "peers-tissuumaps/bin/python"), "-m", "tissuumaps", "-p", "PORT"]
    move = f"(() => {{ const v = tmapp['ISS_viewer']; {fit} }})()"
    lab = [str(venvs / "peers-islide/bin/jupyter"), "lab", "--no-browser", "--allow-root"]
    lab += ["--port", "PORT", "--IdentityProvider.token=bench", f"--ServerApp.root_dir={folder}"]
    lab += ["--LabApp.expose_app_in_browser=True"]
    session = "jupyterapp.shell?.currentWidget?.sessionContext"
    code = json.dumps({"code": f"v.set_zoom({1 / px}, {x}, {y})"})
    view = [sys.executable, "-m", "histonuc", "view", str(case.result), "--no-browser"]
    return {
        "histonuc": Viewer([*view, "--at", first], None, f"location.hash='#slide=0&at={x},{y},20'"),
        "tissuumaps": Viewer([*server, f"{folder}/outlines.tmap"], "http://127.0.0.1:PORT/", move),
        "tissuumaps-points": Viewer(
            [*server, f"{folder}/points.tmap"], "http://127.0.0.1:PORT/", move
        ),
        "islide": Viewer(
            lab,
            "http://127.0.0.1:PORT/lab/tree/view.ipynb?token=bench",
            f"void {session}.session.kernel.requestExecute({code})",
            ready=f"window.jupyterapp && {session}?.isReady && {session}.session?.kernel",
            opened="void jupyterapp.commands.execute('notebook:run-all-cells')",
        ),
    }


def export(result: Path, folder: Path) -> Case:
    """Write what the peers read, where it is not there yet."""
    summary, nuclei = read_summary(result), read_table(result / "nuclei.parquet")
    slide = Path(summary.source)
    first, second = far_places(nuclei)
    case = Case(
        result=result,
        folder=folder,
        slide_name=slide.name,
        width=summary.size_px[0],
        px=0.5 / nuclei.mpp,
        first=first,
        second=second,
        classes=nuclei.label_space.classes,
        colours=nuclei.label_space.colours,
    )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / slide.name).exists():
        (folder / slide.name).symlink_to(slide)
    if len(nuclei) <= MOST_OUTLINES:
        write_outlines(nuclei, folder / "nuclei.geojson")
    write_points(nuclei, folder / "nuclei.csv")
    write_projects(case)
    write_notebook(case)
    return case


def far_places(nuclei: Nuclei) -> tuple[tuple[int, int], tuple[int, int]]:
    """Two places with many nuclei, the second as far as possible from the first."""
    cell = CELL_UM / nuclei.mpp
    cells, counts = np.unique((nuclei.centroid // cell).astype(int), axis=0, return_counts=True)
    centres = (cells[counts >= np.median(counts)] + 0.5) * cell
    first = centres[centres.sum(axis=1).argmin()]
    second = centres[np.linalg.norm(centres - first, axis=1).argmax()]
    return tuple(first.astype(int).tolist()), tuple(second.astype(int).tolist())


def write_outlines(nuclei: Nuclei, path: Path) -> None:
    """GeoJSON with the colours as TissUUmaps, as QuPath and as islide spell them."""
    if path.exists():
        return
    names, colours = nuclei.label_space.classes, nuclei.label_space.colours
    kinds = [
        json.dumps(
            {
                "color": "#{:02x}{:02x}{:02x}".format(*colour),
                "classification": {"name": name, "color": list(colour)},
            }
        )
        for name, colour in zip(names, colours, strict=True)
    ]
    points, index = np.round(nuclei.points, 1), nuclei.class_index
    with path.open("w") as stream:
        stream.write('{"type":"FeatureCollection","features":[')
        for i in range(len(nuclei)):
            ring = points[nuclei.offsets[i] : nuclei.offsets[i + 1]].tolist()
            geometry = json.dumps([[*ring, ring[0]]], separators=(",", ":"))
            stream.write("," if i else "")
            stream.write(f'{{"type":"Feature","properties":{kinds[index[i]]},')
            stream.write(f'"geometry":{{"type":"Polygon","coordinates":{geometry}}}}}\n')
        stream.write("]}")


def write_points(nuclei: Nuclei, path: Path) -> None:
    """CSV of centroids and classes."""
    if path.exists():
        return
    names, index = nuclei.label_space.classes, nuclei.class_index
    with path.open("w") as stream:
        stream.write("x,y,class\n")
        for (x, y), j in zip(nuclei.centroid.tolist(), index.tolist(), strict=True):
            stream.write(f"{x:.1f},{y:.1f},{names[j]}\n")


def write_projects(case: Case) -> None:
    """Projects of TissUUmaps: outlines as regions, and centroids as markers."""
    (x, y), px = case.first, case.px
    project = {
        "layers": [{"name": case.slide_name, "tileSource": f"{case.slide_name}.dzi"}],
        "boundingBox": {
            "x": (x - 960 * px) / case.width,
            "y": (y - 540 * px) / case.width,
            "width": 1920 * px / case.width,
            "height": 1080 * px / case.width,
        },
    }
    regions = [{"path": "nuclei.geojson", "title": "nuclei", "autoLoad": True}]
    (case.folder / "outlines.tmap").write_text(json.dumps(project | {"regionFiles": regions}))
    colours = {}
    for name, colour in zip(case.classes, case.colours, strict=True):
        colours[name] = "#{:02x}{:02x}{:02x}".format(*colour)
    columns = {"X": "x", "Y": "y", "gb_col": "class", "cb_gr_dict": json.dumps(colours)}
    markers = {
        "path": "nuclei.csv",
        "title": "nuclei",
        "autoLoad": True,
        "uid": "nuclei",
        "expectedHeader": columns,
        "expectedRadios": {"cb_gr": True, "cb_gr_dict": True, "cb_gr_key": False, "cb_col": False},
    }
    (case.folder / "points.tmap").write_text(json.dumps(project | {"markerFiles": [markers]}))


def write_notebook(case: Case) -> None:
    """Notebook that shows the slide with its outlines in islide."""
    x, y = case.first
    lines = [
        "from islide import SlideViewer",
        f"v = SlideViewer({case.slide_name!r}, canvas_h=800)",
        "v.set_annotations('nuclei.geojson')",
        f"v.set_zoom({1 / case.px}, {x}, {y})",
        "display(v)",
    ]
    cell = {"cell_type": "code", "id": "view", "metadata": {}, "outputs": []}
    cell |= {"execution_count": None, "source": "\n".join(lines)}
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = {"cells": [cell], "metadata": {"kernelspec": kernel}}
    notebook |= {"nbformat": 4, "nbformat_minor": 5}
    (case.folder / "view.ipynb").write_text(json.dumps(notebook))
