"""The report: one file, nothing fetched, every section, from folders as training leaves them."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from histonuc import reporting
from histonuc.data.store import Store, StoreWriter, TileRecord
from histonuc.evaluation import evaluate_maps, write_scores
from histonuc.evaluation.folder import write_head
from histonuc.evaluation.rotations import (
    OFFICIAL,
    spread_text,
    summarise_rotations,
    write_summary,
)
from histonuc.inspection import describe
from histonuc.reporting import figures, page, report
from histonuc.reporting.inputs import load_runs, load_score_sets
from histonuc.reporting.pictures import class_colour, outline_paths
from histonuc.reporting.summary import summarise_runs
from histonuc.representations.semantic import Semantic
from histonuc.schedules import CosineRestarts
from histonuc.taxonomy import PANNUKE

STEPS_AN_EPOCH = 7


class Page(HTMLParser):
    """Ids, references and open tags of an HTML page."""

    void = frozenset({"meta", "img", "br", "link", "image", "use", "path", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.references: list[str] = []
        self.open: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.void:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def write_store(folder: Path) -> Store:
    rng = np.random.default_rng(0)
    with StoreWriter(folder, PANNUKE, source="test") as writer:
        for number, tissue in enumerate(("Breast", "Colon", "Breast", "Skin")):
            instances = np.zeros((40, 40), np.int32)
            instances[4:14, 4:14], instances[14:24, 4:14] = 1, 2  # touching
            instances[20:34, 26:40] = 3  # at the edge
            types = np.array([1 + number % 5, 4, 0])
            writer.add(
                TileRecord(
                    image=rng.integers(0, 256, (40, 40, 3), np.uint8),
                    instances=instances,
                    types=types,
                    candidates=np.where(types > 0, 1 << np.maximum(types - 1, 0), 31),
                    original_ids=np.arange(1, 4),
                    channels=types - 1,
                    fold=1 + number % 2,
                    name=f"tile <{number}> & more",
                    tissue=tissue,
                    source="test",
                    mpp=0.25,
                )
            )
    return Store.open(folder)


def write_run(folder: Path, store: Store, *, trunk: str, seed: int) -> Path:
    """A run folder with scores of a model that guesses."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    settings = {"max_lr": 1e-3, "min_lr": 1e-6, "gamma": 0.5, "cycle_mult": 2.0}
    config = {"trunk": trunk, "representation": "semantic", "augment": {"flip": True}, **settings}
    config |= {"first_cycle_epochs": 2.0, "warmup_epochs": 0.5}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    (folder / "environment.json").write_text(json.dumps({"python": "3.11", "gpu": {"count": 0}}))
    schedule = CosineRestarts(first_cycle_steps=14, warmup_steps=4, **settings)
    rows: list[dict[str, Any]] = []
    for step in range(1, 4 * STEPS_AN_EPOCH + 1):
        at = {"step": step, "epoch": step / STEPS_AN_EPOCH, "lr": schedule.at(step - 1)}
        rows.append({"event": "step", **at, "loss": 1 / step, "bce": 0.1})
        if step % STEPS_AN_EPOCH == 0:
            rows.append({"event": "epoch", **at, "val": {"bpq": 0.1, "mpq": None, "bce": 0.2}})
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"event": "st')

    def predict(images: np.ndarray) -> np.ndarray:
        maps = rng.random((len(images), 6, 40, 40)).astype(np.float32)
        maps[:, 1, 4:14, 4:14] += 2
        return maps / maps.sum(1, keepdims=True)

    evaluation = evaluate_maps(
        store,
        np.arange(4),
        predict,
        representation=Semantic(num_classes=5),
        label_space=PANNUKE,
        mpp=0.25,
    )
    write_scores(evaluation, folder / "scores", model={"name": trunk}, data={"store": "DATA"})
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    root = tmp_path_factory.mktemp("report")
    store = write_store(root / "store")
    runs = [write_run(root / f"run-{t}", store, trunk=t, seed=i) for i, t in enumerate("ab")]
    return root / "store", runs


@pytest.fixture(scope="module")
def html(folders: tuple[Path, list[Path]], tmp_path_factory: pytest.TempPathFactory) -> str:
    data, runs = folders
    out = tmp_path_factory.mktemp("out") / "new" / "report.html"
    assert report(runs, out, data=data) == out
    assert [p.name for p in out.parent.iterdir()] == ["report.html"]
    return out.read_text()


def test_the_page_is_well_formed_and_fetches_nothing(html: str) -> None:
    parsed = Page(html)
    assert parsed.open == []
    assert len(parsed.references) > 20
    for reference in parsed.references:
        assert reference.startswith(("data:image/", "#")), reference[:80]
    assert "script" not in parsed.tags
    assert "link" not in parsed.tags
    assert not re.search(r"@import|url\(", html)
    assert len(parsed.ids) == len(set(parsed.ids))
    assert {r[1:] for r in parsed.references if r.startswith("#")} <= set(parsed.ids)


def test_every_section_is_there(html: str) -> None:
    headings = re.findall(r"<h[23][^>]*>([^<]+)", html)
    for expected in (
        "Summary",
        "PQ side by side",
        "Data",
        "Tiles of each tissue, with the true outlines",
        "Training",
        "Scores: run-a",
        "Scores: run-b",
        "Scores in all",
        "Nuclei",
        "Confusion of nuclei",
        "Confusion of pixels",
        "Classes",
        "Tissues",
        "Image, truth, prediction",
        "Environment",
        "How the scores are defined",
    ):
        assert expected in [heading.strip() for heading in headings], expected
    assert "excludes missed and background pixels" in html
    for name in ("Breast", "Colon", "Skin", *PANNUKE.classes):
        assert name in html
    assert "gpu.count" in html
    assert "augment.flip" in html


def test_a_cross_validation_shows_mean_and_spread(
    folders: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    folder, scores = tmp_path / "cv", []
    for rotation, run in zip(OFFICIAL, folders[1], strict=False):
        shutil.copytree(run, folder / rotation.folder)
        scores.append(json.loads((run / "scores" / "scores.json").read_text()))
    summary = {"format": 1, "scheme": "official", **summarise_rotations(OFFICIAL[:2], scores)}
    write_summary(summary, folder)
    text = report([folder], tmp_path / "report.html").read_text()
    Page(text)
    for expected in ("Cross-validation", "1/2/3, 2/1/3", "Scores: rotation-1-2-3"):
        assert expected in text
    assert spread_text(summary["overall"]["bpq"]) in text
    assert spread_text(summary["per_tissue"]["Colon"]["bpq"]) in text
    facts = describe(folder).facts
    assert facts["kind"] == "cross-validation"
    assert facts["bpq"] == spread_text(summary["overall"]["bpq"])


def test_names_from_files_are_escaped(html: str) -> None:
    assert "tile &lt;1&gt; &amp; more" in html
    assert "tile <1>" not in html


def test_confusion_shows_counts_and_row_percentages(
    html: str, folders: tuple[Path, list[Path]]
) -> None:
    scores = json.loads((folders[1][0] / "scores" / "scores.json").read_text())
    counts = np.array(scores["confusion"]["pixels"]["counts"])
    cell = f"<b>{100 * counts[1, 1] / counts[1].sum():.1f} %</b><small>{counts[1, 1]}</small>"
    assert cell in html
    first = html.index("All pixels of known class")
    table = html[first : html.index("</table>", first)]
    assert table.count("<td style") == 6 * 6
    second = html.index("as the seed drew it")
    assert html[second : html.index("</table>", second)].count("<td style") == 5 * 5


def test_scores_of_nuclei_come_with_intervals_errors_and_confusion(
    html: str, folders: tuple[Path, list[Path]]
) -> None:
    scores = json.loads((folders[1][0] / "scores" / "scores.json").read_text())
    low, high = scores["intervals"]["bpq"]
    row = f"<td>{scores['overall']['bpq']:.3f}</td><td>{low:.3f} to {high:.3f}</td>"
    assert f"<td>bPQ</td>{row}" in html
    name, row = next((n, r) for n, r in scores["intervals"]["per_class"].items() if r["pq"])
    pq, (low, high) = scores["per_class"][name]["pq"], row["pq"]
    assert f"<td>{pq:.3f}</td><td>{low:.3f} to {high:.3f}</td>" in html
    errors = scores["errors"]
    for kind in ("missed", "merged", "split", "found"):
        assert f"<tr><td>{kind}</td><td>{errors['truth'][kind]}</td>" in html
    assert f"<td>spurious</td><td>–</td><td>{errors['prediction']['spurious']}</td>" in html
    counts = np.array(scores["confusion_nuclei"]["by_iou"])
    table = html[html.index("Paired by IoU") :]
    table = table[: table.index("</table>")]
    assert table.count("<td style") == counts.any(1).sum() * counts.any(0).sum()


def test_the_best_of_each_column_is_marked_and_bce_is_best_when_low(
    folders: tuple[Path, list[Path]],
) -> None:
    runs = load_runs(folders[1])
    table = summarise_runs(runs, load_score_sets(runs, ()))
    by_bce = sorted(range(len(table.rows)), key=lambda index: table.rows[index].values["bce"])
    assert "bce" in table.best[by_bce[0]]
    assert "bce" not in table.best[by_bce[1]]
    assert table.rows[0].epochs == "4"


def test_the_closed_form_is_what_was_logged(folders: tuple[Path, list[Path]]) -> None:
    run = load_runs(folders[1])[0]
    assert figures.find_steps_an_epoch(run) == STEPS_AN_EPOCH
    rate = page._closed_form(run)
    assert rate is not None
    for row in run.steps:
        assert rate(row["step"] - 1) == row["lr"]


def test_a_line_cut_by_a_kill_is_passed_over_but_damage_is_not(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"event": "step", "step": 1}\n{"eve')
    assert len(load_runs([tmp_path])[0].steps) == 1
    (tmp_path / "metrics.jsonl").write_text('{"eve\n{"event": "step", "step": 1}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 1"):
        load_runs([tmp_path])


def test_a_run_that_has_logged_nothing_yet_is_reported(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").write_text("")
    html = report([run], tmp_path / "r.html").read_text()
    assert "Nothing was logged yet" in html
    assert Page(html).open == []


def test_scores_alone_and_scores_without_classes(
    folders: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    scores = json.loads((folders[1][0] / "scores" / "scores.json").read_text())
    scores["no_classes"] = "the model knows less"
    for row in (scores["overall"], *scores["per_tissue"].values()):
        row["mpq"] = row["dice"] = None
    folder = tmp_path / "binary"
    folder.mkdir()
    write_head(scores, folder)
    html = report([], tmp_path / "r.html", scores=[folder]).read_text()
    assert "the model knows less" in html
    assert "Confusion of pixels" not in html
    assert "Training" not in html


def test_scores_of_several_folders_keep_their_names_apart(
    folders: tuple[Path, list[Path]],
) -> None:
    runs = load_runs(folders[1][:1])
    inside, outside = folders[1][0] / "scores", folders[1][1] / "scores"
    sets = load_score_sets(runs, [inside, outside])
    assert [item.name for item in sets] == ["run-a", "scores"]
    assert [item.run for item in sets] == ["run-a", ""]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: report([p], p / "r.html"), "is no run folder"),
        (lambda p: report([], p / "r.html", scores=[p]), "holds no scores"),
        (lambda p: report([], p / "r.html", data=p), "is no store"),
        (lambda p: report([], p / "r.html"), "nothing to report"),
    ],
)
def test_wrong_folders_are_named(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path)
    assert not (tmp_path / "r.html").exists()


def test_a_missing_extra_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("histonuc.extras.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'histonuc\[report\]'"):
        reporting.report([], tmp_path / "r.html")


def test_outlines_are_grouped_by_class_and_cut_pixel_corners() -> None:
    labels = np.zeros((6, 8), np.int32)
    labels[1:3, 1:3], labels[4, 5], labels[0, 7] = 2, 5, 9
    types = np.array([0, 0, 3, 0, 0, 0, 0, 0, 0, 3])
    paths = dict(outline_paths(labels, types, PANNUKE))
    assert set(paths) == {class_colour(PANNUKE, 0), class_colour(PANNUKE, 3)}
    assert paths[class_colour(PANNUKE, 3)].count("M") == 2
    # a single pixel becomes a diamond through the middles of its sides
    numbers = re.findall(r"[\d.]+,[\d.]+", paths[class_colour(PANNUKE, 0)])
    assert sorted(numbers) == sorted(["5.5,4", "6,4.5", "5.5,5", "5,4.5"])
    assert outline_paths(np.zeros((4, 4), np.int32), types, PANNUKE) == ()


def test_figures_are_the_same_bytes_each_time(folders: tuple[Path, list[Path]]) -> None:
    run = load_runs(folders[1])[0]
    assert figures.draw_learning_curves(run, None) == figures.draw_learning_curves(run, None)
