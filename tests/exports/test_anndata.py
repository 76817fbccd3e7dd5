import json

import numpy as np
import pytest

from histonuc.taxonomy import PANNUKE

anndata = pytest.importorskip("anndata", reason="an extra: pip install 'histonuc[spatial]'")


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
