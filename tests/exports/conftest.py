"""Nuclei to export, and what equal means after a way there and back."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from histonuc.exports import to_table
from histonuc.nuclei import Instances, Nuclei
from histonuc.taxonomy import PANNUKE

FEATURES = st.lists(
    st.sampled_from(["red_od", "texture", "Cell: Area µm^2", 'of "A", B', "p value", "p_value"]),
    unique=True,
    max_size=3,
)
"""Names of features, some as only a person would choose them."""


def few_cases(test):
    """A property of nuclei with and without mpp and features, for formats that take a while."""
    mpp = st.sampled_from([0.25, float("nan")])
    drawn = given(seed=st.integers(0, 999), num=st.integers(0, 6), mpp=mpp, features=FEATURES)
    return settings(max_examples=15)(drawn(test))


def random_nuclei(seed=0, num=7, mpp=0.25, scale=0.499 / 0.25, origin=(1234.5, 99.25), features=()):
    """Blobs of a random label image, with random class probabilities and features."""
    if num == 0:
        return Nuclei.empty(PANNUKE, mpp, features)
    rng = np.random.default_rng(seed)
    labels = np.zeros((60, 60), np.int32)
    for i in range(num):
        x, y = rng.integers(0, 50, 2)
        labels[y : y + rng.integers(2, 10), x : x + rng.integers(2, 10)] = i + 1
    ids, labels = np.unique(labels, return_inverse=True)
    n = len(ids) - 1
    instances = Instances(
        labels=labels.reshape(60, 60).astype(np.int32),
        class_probabilities=rng.dirichlet(np.ones(5), n).astype(np.float32),
        score=rng.uniform(0, 1, n).astype(np.float32),
    )
    nuclei = Nuclei.from_instances(instances, PANNUKE, mpp)
    return replace(
        nuclei,
        points=nuclei.points * scale + origin,
        centroid=nuclei.centroid * scale + origin,
        features={name: random_feature(rng, n) for name in features},
    )


def random_feature(rng, n):
    """Values float32 (n,) of all sizes, a fifth of them unknown."""
    values = rng.normal(size=n) * 10.0 ** rng.integers(-9, 10, n)
    return np.where(rng.uniform(size=n) < 0.2, np.nan, values).astype(np.float32)


def check_equal(one, other, points_px=0.0, centroid_px=0.0):
    assert len(one) == len(other)
    for name in ("offsets", "class_probabilities", "score"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype, name
        assert np.array_equal(a, b), name
    assert list(one.features) == list(other.features)
    assert {name: text.tolist() for name, text in one.texts.items()} == {
        name: text.tolist() for name, text in other.texts.items()
    }
    for name, values in one.features.items():
        assert values.dtype == np.float32, name
        assert np.array_equal(values, other.features[name], equal_nan=True), name
    assert np.abs(one.points - other.points).max(initial=0) <= points_px
    assert np.abs(one.centroid - other.centroid).max(initial=0) <= centroid_px
    assert one.label_space == other.label_space
    assert one.mpp == other.mpp or (math.isnan(one.mpp) and math.isnan(other.mpp))


@pytest.fixture(scope="session")
def nuclei_of():
    return random_nuclei


@pytest.fixture(scope="session")
def assert_equal():
    return check_equal


@pytest.fixture
def with_extra(tmp_path):
    """A `nuclei.parquet` with ids that begin at 11 and two more measured columns."""
    import pyarrow.parquet as pq

    nuclei = random_nuclei()
    table = to_table(nuclei, {"image_size": [1400, 300], "source": "slide.svs"})
    n = len(nuclei)
    table = table.set_column(0, "id", pa.array(np.arange(11, 11 + n), pa.uint32()))
    entropy = np.where(np.arange(n) == 1, np.nan, np.arange(n) / 8)
    table = table.append_column("entropy", pa.array(entropy, from_pandas=True))
    table = table.append_column("stain", pa.array(["H"] * n))
    table = table.append_column("neighbours", pa.array(np.arange(n), pa.int16()))
    pq.write_table(table, tmp_path / "nuclei.parquet", row_group_size=3)
    return tmp_path / "nuclei.parquet", nuclei
