import json

import numpy as np
import pytest

from histonuc.exports import to_table
from histonuc.exports.table import from_facts
from histonuc.taxonomy import PANNUKE

from .conftest import few_cases

anndata = pytest.importorskip("anndata", reason="an extra: pip install 'histonuc[spatial]'")


@few_cases
def test_every_value_comes_back(nuclei_of, tmp_path_factory, seed, num, mpp, features):
    from histonuc.exports.anndata import write_anndata

    nuclei = nuclei_of(seed, num, mpp, features=features)
    path = tmp_path_factory.mktemp("h5ad") / "a.h5ad"
    write_anndata(nuclei, path)
    read, table = anndata.read_h5ad(path), to_table(nuclei)
    assert read.obs["id"].tolist() == table["id"].to_pylist()
    assert read.obs["class"].tolist() == table["class"].to_pylist()
    assert np.array_equal(read.obsm["spatial"], nuclei.centroid)
    columns = {"score": "score", "area px": "area_px", "x px": "x", "y px": "y"}
    columns |= {"area µm²": "area_um2"} if mpp == 0.25 else {}
    columns |= {f"p {name}": f"p_{name}" for name in PANNUKE.classes}
    columns |= {name: name for name in features}
    assert list(read.var_names) == list(columns)
    for values, name in zip(read.X.T, columns.values(), strict=True):
        assert np.array_equal(values, table[name].to_numpy().astype(np.float32), equal_nan=True)
    space, read_mpp = from_facts(json.loads(read.uns["histonuc"]))
    assert space == PANNUKE
    assert np.array_equal(read_mpp, mpp, equal_nan=True)


def test_anndata_reads_it(with_extra, tmp_path):
    from histonuc.exports.anndata import write_anndata

    table, nuclei = with_extra
    write_anndata(table, tmp_path / "a.h5ad")
    read = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert read.obs["id"].tolist() == list(range(11, 11 + len(nuclei)))
    assert list(read.obs_names) == [str(i) for i in range(11, 11 + len(nuclei))]
    assert read.obs["class"].tolist() == [PANNUKE.classes[j] for j in nuclei.class_index]
    assert list(read.obs["class"].cat.categories) == list(PANNUKE.classes)
    assert np.array_equal(read.obsm["spatial"], nuclei.centroid)
    assert np.array_equal(read[:, "score"].X.ravel(), nuclei.score)
    assert np.allclose(read[:, "area µm²"].X.ravel(), nuclei.area_um2)
    assert np.isnan(read[:, "entropy"].X.ravel()).tolist()[:3] == [False, True, False]
    assert next(iter(read.uns["class_colors"])) == "#ff3333"
    assert json.loads(read.uns["histonuc"])["mpp"] == 0.25


def test_nothing_is_a_table_of_no_rows(nuclei_of, tmp_path):
    from histonuc.exports.anndata import write_anndata

    write_anndata(nuclei_of(num=0), tmp_path / "a.h5ad")
    assert anndata.read_h5ad(tmp_path / "a.h5ad").n_obs == 0
