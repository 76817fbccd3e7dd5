"""The shipped model: its card tells the truth, and it does what it did when it was shipped."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

from histonuc.data.folder import FolderOptions, prepare_folder
from histonuc.data.store import Store
from histonuc.evaluation import evaluate_maps, summarise
from histonuc.metrics.panoptic import PanopticCounts, panoptic_counts
from histonuc.models.exported import INT8_SUFFIX, openvino_core
from histonuc.models.loading import DEFAULT_MODEL, list_shipped, load_model

WEIGHTS = Path(str(files("histonuc.weights")))
MODELS = sorted(WEIGHTS.glob("*.onnx"))
OPTIONS = FolderOptions(only=["nucls15", "pannuke3"], label_space="three")


def test_the_default_model_is_shipped() -> None:
    assert DEFAULT_MODEL in [model.name for model in list_shipped()[0]]


@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.name)
def test_every_model_is_small_and_has_a_card_with_its_checksum(model: Path) -> None:
    name = model.name.removesuffix(INT8_SUFFIX).removesuffix(".onnx")
    card = (WEIGHTS / f"{name}.md").read_text()
    assert hashlib.sha256(model.read_bytes()).hexdigest() in card
    assert model.stat().st_size < 12e6
    for checkpoint in WEIGHTS.glob(f"{name}.safetensors"):
        assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() in card
    for heading in ("Data and licences", "Scores", "Known failures", "How it was made"):
        assert heading in card
    for label in load_model(name).spec.label_space.classes:
        assert label in card


@pytest.mark.parametrize(
    ("model", "bpq", "dice"),
    [("compact-offset-5", 0.690, 0.874), ("compact-offset-fast-2", 0.709, 0.889)],
)
def test_it_scores_on_real_tiles_what_it_scored_when_shipped(
    shared_data, tmp_path, model, bpq, dice
) -> None:
    prepare_folder(shared_data, tmp_path / "store", OPTIONS)
    store, runtime = Store.open(tmp_path / "store"), load_model(model)
    evaluation = evaluate_maps(
        store,
        store.select([3]),
        runtime.maps,
        representation=runtime.representation,
        label_space=runtime.spec.label_space,
        mpp=runtime.spec.mpp,
    )
    summary = summarise(evaluation)
    assert summary["bpq"] == pytest.approx(bpq, abs=0.012)
    assert summary["foreground_dice"] == pytest.approx(dice, abs=0.01)


def test_predicting_needs_no_torch() -> None:
    code = (
        "import sys, numpy as np; from histonuc.models.loading import load_model;"
        "maps = load_model('default').maps(np.full((1, 70, 90, 3), 240, np.uint8));"
        "assert maps.shape == (1, 6, 70, 90), maps.shape;"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def real_store(shared_data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "store"
    prepare_folder(shared_data, folder, OPTIONS)
    return folder


@pytest.mark.parametrize("name", ["compact-offset-5", "compact-offset-fast-2"])
@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.99), ("bf16", 0.96), ("int8", 0.95)])
def test_the_shipped_files_find_what_their_checkpoint_finds(
    real_store, precision, least, name
) -> None:
    pytest.importorskip("torch")
    if precision == "bf16" and "BF16" not in openvino_core().get_property(
        "CPU", "OPTIMIZATION_CAPABILITIES"
    ):
        pytest.skip("this processor has no bf16 arithmetic")
    shipped = load_model(name, precision=precision)
    assert shipped.precision.split("+")[0] == precision
    trained = load_model(str(WEIGHTS / f"{name}.safetensors"), device="cpu")
    assert trained.representation == shipped.representation
    store, counts = Store.open(real_store), PanopticCounts.zero(0)
    for row in range(len(store.tiles)):
        image = store.image(row)
        one, other = (
            shipped.representation.decode(model.maps(image[None])[0]).labels
            for model in (trained, shipped)
        )
        counts += panoptic_counts(one, other)
    assert counts.pq[0] > least


@pytest.mark.parametrize("card", sorted(WEIGHTS.glob("*.md")), ids=lambda path: path.name)
def test_the_pictures_of_its_card_are_there(card: Path) -> None:
    if not (WEIGHTS / "../../../docs").is_dir():
        pytest.skip("installed without the documentation")
    for link in re.findall(r"!\[[^]]*\]\(([^)]*)\)", card.read_text()):
        assert (WEIGHTS / link).is_file()
