import json

import pytest

from histonuc.data.classes import open_classes
from histonuc.exports.hovernet_json import read_hovernet_json

CONSEP = open_classes("consep").label_space


def test_contours_move_to_pixel_corners_and_types_get_names(tmp_path):
    square = [[0, 0], [4, 0], [4, 4], [0, 4]]
    nuc = {"1": {"contour": square, "type": 2, "type_prob": 0.75, "centroid": [2, 2], "bbox": []}}
    (tmp_path / "a.json").write_text(json.dumps({"mag": 40, "nuc": nuc}))
    read = read_hovernet_json(
        tmp_path / "a.json", label_space=CONSEP, types={2: "Inflammatory"}, mpp=0.25
    )
    assert read.points.tolist() == [[x + 0.5, y + 0.5] for x, y in square]
    assert read.centroid.tolist() == [[2.5, 2.5]]
    assert read.class_index.tolist() == [1]
    assert read.score.tolist() == [0.75]
    with pytest.raises(ValueError, match=r"'2' \(1\)"):
        read_hovernet_json(tmp_path / "a.json", label_space=CONSEP, types={})


@pytest.mark.parametrize("content", ["", "[]", '{"nuc": {"1": {}}}', '{"nuc": 3}'])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match="no JSON of HoVer-Net"):
        read_hovernet_json(tmp_path / "a.json", label_space=CONSEP, types={})
