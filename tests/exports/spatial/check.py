"""Does with exported AnnData what users do, in an environment of scanpy and squidpy.

``python check.py PICTURE.png FILE.h5ad FILE.h5ad ...``: histonuc is not installed there. Joining the
files may not warn; what the libraries say of themselves and each other is not looked at.
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from anndata import AnnData


def cluster(adata: AnnData) -> None:
    """The usual steps, on all that X holds."""
    import scanpy as sc

    sc.pp.scale(adata)
    sc.pp.pca(adata, n_comps=5)
    sc.pp.neighbors(adata, n_neighbors=10)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2)
    assert adata.obs["leiden"].nunique() > 1
    sc.tl.rank_genes_groups(adata, "class", groups=[adata.obs["class"].iloc[0]])


def show(adata: AnnData, library: str, picture: str) -> np.ndarray:
    """Pixels of squidpy's picture: the tissue, and the nuclei on it in their classes' colours."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import squidpy as sq

    figure, axes = plt.subplots(figsize=(6, 6), dpi=100)
    sq.pl.spatial_scatter(adata, color="class", library_id=library, ax=axes, size=1.0)
    shown = axes.images[0].get_array()
    assert shown.ndim == 3, "the tissue is not shown"
    assert np.asarray(shown).std() > 5, "the picture of the tissue is blank"
    figure.savefig(picture)
    (x0, x1), (y1, y0) = axes.get_xlim(), axes.get_ylim()
    scale = adata.uns["spatial"][library]["scalefactors"]["tissue_hires_scalef"]
    x, y = (adata.obsm["spatial"] * scale).T
    assert x.min() >= x0 - 1
    assert x.max() <= x1 + 1
    assert y.min() >= y0 - 1
    assert y.max() <= y1 + 1
    # Nuclei are darker than what is around them: on the right pixels, or not at all.
    image = np.asarray(adata.uns["spatial"][library]["images"]["hires"], float).mean(-1)
    at = image[y.astype(int).clip(0, len(image) - 1), x.astype(int).clip(0, image.shape[1] - 1)]
    assert at.mean() < image.mean() - 5, (at.mean(), image.mean())


def main(picture: str, *files: str) -> None:
    """All checks."""
    import anndata as ad
    import squidpy as sq

    samples = [ad.read_h5ad(file) for file in files]
    for adata in samples:
        colours = dict(
            zip(adata.obs["class"].cat.categories, adata.uns["class_colors"], strict=True)
        )
        assert all(colour.startswith("#") for colour in colours.values())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        joined = ad.concat(samples, uns_merge="unique")
    assert joined.obs_names.is_unique
    assert set(joined.obs["sample"]) == set(joined.uns["spatial"])
    first = samples[0]
    (library,) = first.uns["spatial"]
    show(first, library, picture)
    sq.gr.spatial_neighbors(first, coord_type="generic", delaunay=True)
    sq.gr.nhood_enrichment(first, cluster_key="class", n_perms=10, show_progress_bar=False, seed=0)
    # Distances are microns: neighbouring nuclei lie some ten of them apart.
    distances = first.obsp["spatial_distances"].data
    assert 3 < np.median(distances) < 60, np.median(distances)
    cluster(joined)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(*sys.argv[1:])
