"""Damaged files of others: nuclei, or one clear error of one line that names the file."""

import json
import random
from functools import partial

import numpy as np
import pytest
from PIL import Image

from histonuc.exports import open_source, read_table, write_table
from histonuc.exports.coco import read_coco, write_coco
from histonuc.exports.geojson import write_geojson
from histonuc.exports.geojson_reader import read_geojson
from histonuc.exports.geoparquet import read_geoparquet, write_geoparquet
from histonuc.exports.hovernet_json import read_hovernet_json
from histonuc.exports.label_image import read_label_image
from histonuc.exports.ome_tiff import write_ome_tiff
from histonuc.inference.drawn_reader import read_regions
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import PANNUKE

from ..fuzzing import assert_clear, mutate_bytes, mutate_json, no_hang, outcome
from .conftest import random_nuclei

NUM_MUTATIONS = 60
TYPES = dict(enumerate(PANNUKE.classes, start=1))


def write_hovernet(nuclei, path):
    rows = {
        str(i): {
            "bbox": [[0, 0], [9, 9]],
            "centroid": nuclei.centroid[i].tolist(),
            "contour": nuclei.contour(i).tolist(),
            "type_prob": 0.9,
            "type": 1 + int(nuclei.class_index[i]),
        }
        for i in range(len(nuclei))
    }
    path.write_text(json.dumps({"mag": 40, "nuc": rows}))


def write_regions(nuclei, path):
    features = [
        {
            "type": "Feature",
            "geometry": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
            "properties": {},
        }
        for ring in (nuclei.contour(i).tolist() for i in range(3))
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def write_labels(nuclei, path):
    labels = np.kron(np.arange(16).reshape(4, 4) % 6, np.ones((20, 20)))
    Image.fromarray(labels.astype(np.uint8)).save(path)


def all_batches(path):
    return list(open_source(path).batches())


images = {"label_space": PANNUKE, "classes": dict.fromkeys(range(100), "Dead")}
KINDS = {
    "nuclei.parquet": (write_table, read_table),
    "streamed.parquet": (write_table, all_batches),
    "a.geojson": (write_geojson, read_geojson),
    "a.geojson.gz": (write_geojson, read_geojson),
    "a.coco.json": (write_coco, read_coco),
    "a.geoparquet": (write_geoparquet, read_geoparquet),
    "hovernet.json": (
        write_hovernet,
        partial(read_hovernet_json, label_space=PANNUKE, types=TYPES),
    ),
    "a.ome.tif": (write_ome_tiff, partial(read_label_image, **images)),
    "labels.png": (write_labels, partial(read_label_image, **images)),
    "regions.geojson": (write_regions, partial(read_regions, size=(2000, 1000))),
    "regions.png": (write_labels, partial(read_regions, size=(1000, 1000))),
}


@no_hang
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")  # libraries warn about what they then survive
def test_mutated_files_give_nuclei_or_one_clear_error(tmp_path, kind):
    write, read = KINDS[kind]
    path = tmp_path / kind
    write(random_nuclei(num=12, features=["red_od"]), path)
    content, rng = path.read_bytes(), random.Random(kind)
    read(path)
    mutations = [mutate_bytes] + [mutate_json] * path.name.endswith("json")
    errors = 0
    for number in range(NUM_MUTATIONS):
        path.write_bytes(mutations[number % len(mutations)](content, rng))
        result = outcome(read, path)
        if isinstance(result, ValueError):
            errors += 1
            assert_clear(result, path.name)
        elif isinstance(result, Nuclei):
            assert np.isfinite(result.points).all()
    assert errors
