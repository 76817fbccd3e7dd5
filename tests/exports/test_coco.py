import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from histonuc.exports.coco import read_coco, write_coco
from histonuc.taxonomy import PANNUKE


@given(seed=st.integers(0, 999), num=st.integers(0, 6), mpp=st.sampled_from([0.25, float("nan")]))
def test_reads_back_equal(nuclei_of, assert_equal, tmp_path_factory, seed, num, mpp):
    nuclei = nuclei_of(seed, num, mpp)
    path = tmp_path_factory.mktemp("coco") / "a.json"
    write_coco(nuclei, path)
    assert_equal(read_coco(path), nuclei, points_px=0.00501, centroid_px=1e-4)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # its own
def test_pycocotools_reads_it_and_draws_the_same_pixels(nuclei_of, tmp_path, capsys):
    coco = pytest.importorskip("pycocotools.coco", reason="pip install pycocotools to check")
    nuclei = nuclei_of(scale=1, origin=(3, 2))
    write_coco(nuclei, tmp_path / "a.json")
    read = coco.COCO(str(tmp_path / "a.json"))
    capsys.readouterr()
    assert [row["name"] for row in read.loadCats(read.getCatIds())] == list(PANNUKE.classes)
    ids = read.getAnnIds(imgIds=[1])
    assert ids == list(range(1, len(nuclei) + 1))
    for i, row in enumerate(read.loadAnns(ids)):
        assert row["category_id"] == nuclei.class_index[i] + 1
        x, y, width, height = row["bbox"]
        assert [x, y, x + width, y + height] == nuclei.box[i].tolist()
        assert row["area"] == nuclei.area_px[i]
        # pycocotools fills half a pixel more at some edges
        assert abs(read.annToMask(row).sum() - row["area"]) <= len(nuclei.contour(i)) + sum(
            row["bbox"][2:]
        )


def test_image_and_ids_are_those_of_the_result(with_extra, tmp_path):
    table, nuclei = with_extra
    write_coco(table, tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "slide.svs", "width": 1400, "height": 300}]
    assert [row["id"] for row in content["annotations"]] == list(range(11, 11 + len(nuclei)))


def test_a_file_of_others_needs_only_polygons_and_categories(tmp_path):
    content = {
        "images": [{"id": 7, "file_name": "a.png", "width": 50, "height": 40}],
        "categories": [{"id": 3, "name": "tumour"}],
        "annotations": [
            {
                "image_id": 7,
                "category_id": 3,
                "segmentation": [[0, 0, 2, 0, 2, 2], [5, 5, 9, 5, 9, 9, 5, 9]],
            }
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    read = read_coco(
        tmp_path / "a.json", label_space=PANNUKE, class_map={"tumour": "Neoplastic"}, mpp=0.5
    )
    assert read.points.tolist() == [[5, 5], [9, 5], [9, 9], [5, 9]]  # the largest part
    assert read.class_index.tolist() == [0]
    assert read.centroid.tolist() == [[7, 7]]
    assert read.mpp == 0.5
    with pytest.raises(ValueError, match=r"'tumour' \(1\)"):
        read_coco(tmp_path / "a.json", label_space=PANNUKE)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"annotations": [{}], "categories": []}'])
def test_what_is_no_coco_is_said_to_be_none(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match="no COCO file"):
        read_coco(tmp_path / "a.json", label_space=PANNUKE)


def test_run_length_masks_and_several_images_are_refused(tmp_path):
    rle = {"image_id": 1, "category_id": 1, "segmentation": {"counts": [1], "size": [1, 1]}}
    content = {"categories": [{"id": 1, "name": "Dead"}], "annotations": [rle]}
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no COCO file of polygons"):
        read_coco(tmp_path / "a.json", label_space=PANNUKE)
    content["annotations"] = [rle, rle | {"image_id": 2}]
    (tmp_path / "a.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="holds several images"):
        read_coco(tmp_path / "a.json", label_space=PANNUKE)
