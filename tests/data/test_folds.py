"""Which fold an image goes to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.data.folder_index import IndexRow
from histonuc.data.folds import assign_folds

from .labelled_folder import prepare, write_set


def rows_of(groups: list[tuple[str, str, int]]) -> list[IndexRow]:
    return [
        IndexRow(
            directory=Path(),
            dataset=dataset,
            name=str(i),
            height=1,
            width=1,
            nuclei=nuclei,
            patient=patient,
            others={},
            where="",
        )
        for i, (dataset, patient, nuclei) in enumerate(groups)
    ]


GROUPS = st.lists(
    st.tuples(st.sampled_from("AB"), st.sampled_from(["", "p", "q", "r"]), st.integers(0, 99)),
    min_size=1,
    max_size=30,
)


@given(groups=GROUPS, num_folds=st.integers(1, 4), seed=st.integers(0, 9))
def test_patients_never_part_and_nothing_is_lost(groups, num_folds, seed):
    rows = rows_of(groups)
    folds = assign_folds(rows, num_folds, seed)
    assert len(folds) == len(rows)
    assert set(folds) <= set(range(1, num_folds + 1))
    for dataset, patient in {(row.dataset, row.patient) for row in rows if row.patient}:
        own = [
            fold
            for row, fold in zip(rows, folds, strict=True)
            if (row.dataset, row.patient) == (dataset, patient)
        ]
        assert len(set(own)) == 1
    assert assign_folds(rows, num_folds, seed) == folds


def test_folds_balance_nuclei_within_each_data_set():
    rng = np.random.default_rng(1)
    rows = rows_of([(name, "", int(rng.integers(1, 400))) for name in "AB" for _ in range(40)])
    folds = np.array(assign_folds(rows, 3, 0))
    for name in "AB":
        own = np.array([row.nuclei * (row.dataset == name) for row in rows])
        loads = [own[folds == k].sum() for k in (1, 2, 3)]
        assert max(loads) - min(loads) <= max(own)


def test_large_groups_are_placed_first():
    rows = rows_of([("A", "", nuclei) for nuclei in (10, 10, 10, 10, 43)])
    for seed in range(20):
        folds = assign_folds(rows, 2, seed)
        assert folds.count(folds[4]) == 1  # 43 alone against 4 * 10


def test_the_split_does_not_depend_on_the_order_of_rows_but_on_the_seed():
    rows = rows_of([("A", "", 5) for _ in range(20)])
    folds = assign_folds(rows, 3, 0)
    assert assign_folds(rows[::-1], 3, 0) == folds[::-1]
    assert assign_folds(rows, 3, 1) != folds


def test_folds_of_a_store(tmp_path):
    write_set(tmp_path, names=tuple("abcdef"))
    assert prepare(tmp_path, num_folds=2).folds == [1, 2]
    with pytest.raises(ValueError, match="--num-folds: expected at least 1, got 0"):
        prepare(tmp_path, num_folds=0, overwrite=True)
