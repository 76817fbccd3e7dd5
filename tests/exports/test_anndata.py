import json

import numpy as np
import pytest

from histonuc.exports import to_table
from histonuc.exports.facts import from_facts
from histonuc.taxonomy import PANNUKE

from .conftest import few_cases

anndata = pytest.importorskip("anndata", reason="an extra: pip install 'histonuc[spatial]'")

PROBABILITIES = [f"p_{name}" for name in PANNUKE.classes]


@few_cases
def test_every_value_comes_back(nuclei_of, tmp_path_factory, seed, num, mpp, features):
    from histonuc.exports.anndata import write_anndata

    nuclei = nuclei_of(seed, num, mpp, features=features)
    path = tmp_path_factory.mktemp("h5ad") / "a.h5ad"
    write_anndata(nuclei, path)
    read, table = anndata.read_h5ad(path), to_table(nuclei)
    # Measured values only, so that a clustering sees neither the place nor the class.
    measured = ["area_um2" if mpp == 0.25 else "area_px", *features]
    assert list(read.var_names) == measured
    for values, name in zip(read.X.T, measured, strict=True):
        assert np.array_equal(values, table[name].to_numpy().astype(np.float32), equal_nan=True)
    for name in ("id", "class", "score", *PROBABILITIES):
        assert read.obs[name].tolist() == table[name].to_pylist()
    assert np.array_equal(read.obsm["spatial"], nuclei.centroid * (0.25 if mpp == 0.25 else 1))
    space, read_mpp = from_facts(json.loads(read.uns["histonuc"]))
    assert space == PANNUKE
    assert np.array_equal(read_mpp, mpp, equal_nan=True)


def test_rows_are_named_after_their_sample_and_texts_are_categories(with_extra, tmp_path):
    from histonuc.exports.anndata import write_anndata

    table, nuclei = with_extra
    write_anndata(table, tmp_path / "a.h5ad")
    read = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert list(read.obs_names) == [f"slide-{i}" for i in range(11, 11 + len(nuclei))]
    assert read.obs["sample"].unique().tolist() == ["slide"]
    assert read.obs["slide"].unique().tolist() == ["slide.svs"]
    assert read.obs["stain"].dtype == "category"
    assert list(read.obs["class"].cat.categories) == list(PANNUKE.classes)
    assert list(read.var_names) == ["area_um2", "entropy", "neighbours"]
    assert np.isnan(read[:, "entropy"].X.ravel()).tolist()[:3] == [False, True, False]
    assert next(iter(read.uns["class_colors"])) == "#ff3333"


def test_the_scale_leads_from_positions_to_pixels_of_the_picture(nuclei_of, tmp_path):
    from histonuc.exports import open_source
    from histonuc.exports.anndata import write_anndata

    picture = np.zeros((30, 140, 3), np.uint8)
    source = open_source(nuclei_of()).with_facts(
        {"image_size": [1400, 300], "mpp_xy": [0.2, 0.3125], "source": "a/b.svs"}
    )
    write_anndata(source, tmp_path / "a.h5ad", sample="b/c", picture=picture)
    read = anndata.read_h5ad(tmp_path / "a.h5ad")
    record = read.uns["spatial"]["b_c"]
    scale = record["scalefactors"]["tissue_hires_scalef"]
    assert scale == pytest.approx(140 / (1400 * 0.2))
    assert record["images"]["hires"].shape == (round(300 * 0.3125 * scale), 140, 3)
    assert np.allclose(read.obsm["spatial"], nuclei_of().centroid * [0.2, 0.3125])
    diameter = 2 * np.sqrt(np.median(read[:, "area_um2"].X) / np.pi)
    assert record["scalefactors"]["spot_diameter_fullres"] == pytest.approx(diameter)
    assert record["metadata"]["unit"] == "micrometer"


def test_nothing_is_a_table_of_no_rows(nuclei_of, tmp_path):
    from histonuc.exports.anndata import write_anndata

    write_anndata(nuclei_of(num=0), tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").n_obs == 0
