"""Label spaces, tissue spellings and candidate sets."""

from __future__ import annotations

import pytest

from histonuc.taxonomy import (
    LABEL_SPACES,
    THREE,
    TISSUES,
    LabelSpace,
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


def test_label_spaces_survive_json() -> None:
    for space in LABEL_SPACES.values():
        again = LabelSpace.from_dict(space.to_dict())
        assert (again, again.meanings) == (space, space.meanings)


def test_bad_label_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="unique"):
        LabelSpace(name="x", classes=("a", "a"))
    with pytest.raises(ValueError, match="1 to 31"):
        LabelSpace(name="x", classes=())
    with pytest.raises(ValueError, match="unknown class 'Dead'"):
        THREE.candidates(["Dead"])
