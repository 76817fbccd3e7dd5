"""Label spaces, tissue spellings and candidate sets."""

from __future__ import annotations

import pytest

from histonuc.taxonomy import (
    CONSEP,
    LABEL_SPACES,
    NUCLEUS,
    PANNUKE,
    THREE,
    TISSUES,
    LabelSpace,
    candidate_set,
    canonical_tissue,
)


@pytest.mark.parametrize(
    ("seen", "official"),
    [
        ("HeadNeck", "HeadNeck"),
        ("Head & Neck", "HeadNeck"),
        ("head_and_neck", "HeadNeck"),
        ("Adrenal_gland", "Adrenal_gland"),
        ("Adrenal Gland", "Adrenal_gland"),
        ("adrenal", "Adrenal_gland"),
        ("Bile-duct", "Bile-duct"),
        ("Bile Duct", "Bile-duct"),
        ("Colorectal", "Colon"),
        (" breast ", "Breast"),
    ],
)
def test_spellings_in_the_wild(seen: str, official: str) -> None:
    assert canonical_tissue(seen) == official
    assert official in TISSUES


def test_nineteen_tissues_keep_their_name() -> None:
    assert len(TISSUES) == 19
    assert [canonical_tissue(name) for name in TISSUES] == list(TISSUES)


def test_candidate_sets_say_what_each_data_set_knows() -> None:
    neoplastic, inflammatory, connective, dead, epithelial = (1, 2, 4, 8, 16)
    assert candidate_set("consep", 2, PANNUKE) == inflammatory
    assert candidate_set("consep", 3, PANNUKE) == neoplastic | epithelial
    assert candidate_set("consep", 1, PANNUKE) == PANNUKE.any_class
    assert candidate_set("consep", 3, CONSEP) == 0b0100
    assert candidate_set("consep", 3, THREE) == 0b001
    assert candidate_set("consep", 4, THREE) == 0b100
    assert (
        candidate_set("nuinsseg", 0, PANNUKE, "liver")
        == inflammatory | connective | dead | epithelial
    )
    assert candidate_set("nuinsseg", 0, PANNUKE, "melanoma") == PANNUKE.any_class
    assert candidate_set("nuinsseg", 0, THREE, "liver") == THREE.any_class
    assert candidate_set("monuseg", 0, PANNUKE) == PANNUKE.any_class
    assert candidate_set("pannuke3", 4, PANNUKE) == dead
    assert candidate_set("pannuke3", 4, THREE) == THREE.any_class
    assert candidate_set("pannuke3", 5, THREE) == 0b001
    assert candidate_set("glioma", 0, NUCLEUS) == 1
    assert connective == candidate_set("consep", 4, PANNUKE)


def test_label_spaces_survive_json() -> None:
    for space in LABEL_SPACES.values():
        assert LabelSpace.from_dict(space.to_dict()) == space


def test_bad_label_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        LabelSpace(name="x", classes=("a", "a"))
    with pytest.raises(ValueError, match="1 to 31"):
        LabelSpace(name="x", classes=())
    with pytest.raises(ValueError, match="unknown class 'Dead'"):
        CONSEP.candidates(["Dead"])
