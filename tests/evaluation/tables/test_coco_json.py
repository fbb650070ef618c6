"""Invalid result files, each with one defect."""

from __future__ import annotations

import codecs
import gzip
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.data.validation.ids import ListedIds
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.tables.coco_json import check_masks, read_ground_truth, read_predictions
from codetr.inference.predict_files import PredictedFiles
from tests.support.evaluation.evaluation_sets import truth

GOOD = {"image_id": 1, "category_id": 1, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}


def read(folder: Path, content: object) -> list[dict[str, Any]]:
    path = folder / "results.json"
    path.write_text(json.dumps(content))
    return read_predictions(path, truth([]))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"score": None}, r"\[1\]\.score: None"),
        ({"score": "0.9"}, r"\[1\]\.score: '0\.9'"),
        ({"score": True}, r"\[1\]\.score: True"),
        ({"score": float("nan")}, r"\[1\]\.score: nan"),
        ({"score": 1.7}, r"\[1\]\.score: 1\.7"),
        ({"bbox": [1, 2, 3]}, r"\[1\]\.bbox: \[1, 2, 3\]"),
        ({"bbox": [float("inf"), 2, 3, 4]}, r"\[1\]\.bbox: \[inf, 2, 3, 4\]"),
        ({"bbox": [10**400, 2, 3, 4]}, r"\[1\]\.bbox"),
        ({"bbox": [1, 2, 1e155, 1e155]}, r"\[1\]\.bbox: \[1, 2, 1e\+155, 1e\+155\]"),
        ({"bbox": [1, 2, -3, 4]}, "negative width"),
        ({"segmentation": [[1, 2, 3, 4, 5, 6]]}, r"\[1\]\.segmentation"),
        ({"segmentation": {"size": [10], "counts": "x"}}, r"\[1\]\.segmentation"),
        ({"image_id": 99}, r"\[1\]\.image_id: 99 is not an id of the ground truth's images"),
        ({"image_id": "x"}, r"\[1\]\.image_id: 'x'"),
        ({"category_id": 55}, r"\[1\]\.category_id: 55 is not an id of the ground truth's categories"),
        ({"category_id": 1.5}, r"\[1\]\.category_id: 1\.5"),
    ],
)
def test_a_broken_entry_is_named_with_its_field_and_value(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    """pycocotools takes most of these silently and gives wrong metrics."""
    with pytest.raises(UserError, match=named):
        read(tmp_path, [GOOD, {**GOOD, **change}])


@pytest.mark.parametrize("field", ["image_id", "category_id", "bbox", "score"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    with pytest.raises(UserError, match=rf"\[0\]\.{field}: is missing"):
        read(tmp_path, [{key: value for key, value in GOOD.items() if key != field}])


@pytest.mark.parametrize("content", [{"results": [GOOD]}, "text", 3, None])
def test_something_other_than_a_list_is_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(UserError, match="expected a list"):
        read(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"annotations": [GOOD], "images": []}, "is an annotation file, expected a list"),
        (asdict(PredictedFiles("tiny", ["a"], 0.3)), r"was written by `codetr predict`.*codetr evaluate"),
    ],
    ids=["annotations", "predict"],
)
def test_a_file_of_another_command_is_named(tmp_path: Path, content: object, message: str) -> None:
    """Both are named predictions.json, or the arguments are swapped."""
    with pytest.raises(UserError, match=message):
        read(tmp_path, content)


def test_boxes_and_masks_must_not_be_mixed(tmp_path: Path) -> None:
    """pycocotools looks at the first entry alone, and fails on the others without naming them."""
    mask = {**GOOD, "segmentation": {"size": [200, 300], "counts": "PPYo1"}}
    del mask["bbox"]
    assert len(read(tmp_path, [mask, mask])) == 2
    with pytest.raises(UserError, match="some entries have a bbox"):
        read(tmp_path, [GOOD, mask])


def test_many_problems_are_counted_not_all_printed(tmp_path: Path) -> None:
    """A file with a million broken entries must not give a message of a million lines."""
    with pytest.raises(UserError, match="and 995 more"):
        read(tmp_path, [{**GOOD, "score": 2}] * 1000)


def test_whole_floats_are_ids_and_an_empty_list_is_a_result(tmp_path: Path) -> None:
    (entry,) = read(tmp_path, [{**GOOD, "image_id": 1.0, "category_id": 2.0}])
    assert (entry["image_id"], entry["category_id"]) == (1, 2)
    assert isinstance(entry["image_id"], int)
    assert read(tmp_path, []) == []


@pytest.mark.parametrize(
    ("part", "change", "named"),
    [
        ("images", {"id": None}, r"images\[0\]: is not an object with an id"),
        ("categories", {"name": None}, r"categories\[0\]\.name"),
        ("annotations", {"bbox": None}, r"annotations\[0\]\.bbox: None"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, r"annotations\[0\]\.bbox: \[1, 2, 3, nan\]"),
        ("annotations", {"image_id": "x"}, r"annotations\[0\]\.image_id: 'x'"),
        ("annotations", {"area": "9"}, r"annotations\[0\]\.area: '9'"),
        ("annotations", {"iscrowd": 2}, r"annotations\[0\]\.iscrowd: 2"),
    ],
)
def test_broken_annotations_are_named(tmp_path: Path, part: str, change: dict[str, Any], named: str) -> None:
    """Ground truth must be as valid as predictions."""
    values = truth([(1, 1, [1.0, 2.0, 3.0, 4.0])])
    (tmp_path / "sound.json").write_text(json.dumps(values))
    assert read_ground_truth(tmp_path / "sound.json") == values
    values[part][0].update(change)
    (tmp_path / "broken.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=named):
        read_ground_truth(tmp_path / "broken.json")


@pytest.mark.parametrize("frequency", ["x", None, ["r"], 3])
def test_classes_of_lvis_are_rare_common_or_frequent(tmp_path: Path, frequency: object) -> None:
    """Of any other the package lvis gives no numbers at all. In a COCO file the word may mean something else."""
    values = truth([(1, 1, [1.0, 2.0, 3.0, 4.0])])
    values["categories"][1]["frequency"] = frequency
    (tmp_path / "coco.json").write_text(json.dumps(values))
    assert read_ground_truth(tmp_path / "coco.json") == values
    values["images"][0]["neg_category_ids"] = []
    (tmp_path / "lvis.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=r"categories\[1\]\.frequency: .* is not r, c or f"):
        read_ground_truth(tmp_path / "lvis.json")


def test_a_result_file_is_no_annotation_file(tmp_path: Path) -> None:
    """The two arguments of `codetr score` are easily swapped."""
    (tmp_path / "results.json").write_text(json.dumps([GOOD]))
    with pytest.raises(UserError, match="not a COCO annotation file"):
        read_ground_truth(tmp_path / "results.json")


WHOLE = {"size": [200, 300], "counts": [0, 60000]}


@pytest.mark.parametrize(
    ("mask", "named"),
    [
        ({"size": [2000, 3000], "counts": "0"}, r"results: \[0\]\.segmentation: .*size \[2000, 3000\]"),
        ({"size": [200, 300], "counts": "PPYo1" * 9}, r"results: \[0\]\.segmentation: .*run"),
    ],
)
def test_masks_that_would_overrun_native_memory_are_refused(mask: dict[str, Any], named: str) -> None:
    """pycocotools allocates by the size and writes by the run lengths; a foreign file decides over both."""
    values = truth([(1, 1, [1.0, 2.0, 3.0, 4.0])], segmentation=WHOLE)
    check_masks(values, [{**GOOD, "segmentation": WHOLE}])
    with pytest.raises(UserError, match=named):
        check_masks(values, [{**GOOD, "segmentation": mask}])


def test_a_mask_that_is_missing_is_named_with_its_file() -> None:
    values = truth([(1, 1, [1.0, 2.0, 3.0, 4.0])] * 2, segmentation=WHOLE)
    with pytest.raises(UserError, match=r"^r\.json: \[1\]\.segmentation: is missing$"):
        check_masks(values, [{**GOOD, "segmentation": WHOLE}, GOOD], results_file="r.json")
    values["annotations"][1]["segmentation"] = []
    with pytest.raises(UserError, match=r"^t\.json: annotations\[1\]\.segmentation: is empty$"):
        check_masks(values, [], truth_file="t.json")


def test_masks_need_the_sizes_of_their_images() -> None:
    values = truth([(1, 1, [1.0, 2.0, 3.0, 4.0])], segmentation=WHOLE)
    del values["images"][0]["height"]
    with pytest.raises(UserError, match=r"images\[0\]: has no height"):
        check_masks(values, [])


@pytest.mark.parametrize(
    "rename",
    [str, float, "frame_{}".format, "0{}".format, lambda identifier: identifier + (1 << 70)],
    ids=["text", "float", "names", "leading_zeros", "beyond_64_bits"],
)
@pytest.mark.parametrize(
    "encode", [bytes, lambda text: codecs.BOM_UTF8 + text, gzip.compress], ids=["plain", "bom", "gzip"]
)
def test_every_form_of_ids_and_file_that_prepare_reads(tmp_path: Path, rename: Any, encode: Any) -> None:
    """The predictions on a dataset that was prepared could be scored against no annotation file."""
    values = truth([(1, 1, [1.0, 2.0, 30.0, 40.0]), (2, 2, [5.0, 6.0, 7.0, 80.0])])
    results = [
        {**GOOD, "image_id": a["image_id"], "category_id": a["category_id"], "bbox": a["bbox"]}
        for a in values["annotations"]
    ]
    expected = evaluate_coco(values, results).flat
    for entry in (*values["images"], *values["categories"]):
        entry["id"] = rename(entry["id"])
    for entry in (*values["annotations"], *results):
        entry.update(image_id=rename(entry["image_id"]), category_id=rename(entry["category_id"]))
    for name, content in (("truth.json", values), ("results.json", results)):
        (tmp_path / name).write_bytes(encode(json.dumps(content).encode()))
    ground_truth = read_ground_truth(tmp_path / "truth.json")
    assert evaluate_coco(ground_truth, read_predictions(tmp_path / "results.json", ground_truth)).flat == expected


def test_ids_are_those_that_prepare_assigns(tmp_path: Path) -> None:
    """An evaluation writes the assigned integers; the annotation file has the text."""
    values = truth([(1, 1, [1.0, 2.0, 30.0, 40.0])])
    values["images"][0]["id"] = values["annotations"][0]["image_id"] = "b"
    (tmp_path / "truth.json").write_text(json.dumps(values))
    ground_truth = read_ground_truth(tmp_path / "truth.json")
    assigned = ListedIds([entry.get("original_id", entry["id"]) for entry in ground_truth["images"]]).resolve("b")
    assert ground_truth["images"][0]["id"] == ground_truth["annotations"][0]["image_id"] == assigned
    (tmp_path / "results.json").write_text(json.dumps([{**GOOD, "image_id": assigned}, {**GOOD, "image_id": "b"}]))
    found = read_predictions(tmp_path / "results.json", ground_truth)
    assert [entry["image_id"] for entry in found] == [assigned] * 2
