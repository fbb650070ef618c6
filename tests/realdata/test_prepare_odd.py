"""prepare on every broken annotation file: a clear error, or a repair or drop that is reported; never a traceback."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.steps.prepare import prepare

# What is refused, and a part of what the error says.
REFUSED = {
    "all_crowd": "no usable annotation: of 2 listed, the 2 kept are crowds",
    "binary": "is not utf-8 text (byte 3)",
    "deep_nesting": "is nested too deeply",
    "duplicate_category_ids": "category id 2 is listed twice, as 'WBC' and as 'other'",
    "duplicate_image_ids": "image id 1 is listed twice, for 'ok_rgb.jpg' and for 'ok_second.jpg'",
    "duplicate_keys": "an object has the key 'annotations' twice",
    "empty_file": "is empty",
    "empty_images": "the list 'images' is empty",
    "latin1": "is not utf-8 text (byte 667)",
    "no_annotations": "lists no annotation",
    "no_categories": "the list 'categories' is empty",
    "no_file_name": "found: image_missing 1, annotation_image_dropped 1",
    "only_images_key": "has no 'annotations'",
    "rle_counts_sum_long": "segmentation_dropped 1",
    "rle_counts_sum_short": "segmentation_dropped 1",
    "rle_garbage_string": "segmentation_dropped 1",
    "rle_negative_counts": "segmentation_dropped 1",
    "rle_wrong_size": "segmentation_dropped 2",
    "tiny_boxes": "box_tiny 2",
    "top_level_list": "holds a JSON list, expected an object",
    "top_level_null": "holds a JSON null, expected an object",
    "trailing_comma": "is not valid JSON (line 1, column 730",
    "truncated": "is not valid JSON (line 1, column 438",
}

# What is prepared: images kept and listed, annotations kept and listed, those trained on, and the findings.
PREPARED: dict[str, tuple[tuple[int, int], tuple[int, int], int, dict[str, int]]] = {
    "all_odd_images": (
        (48, 61),
        (44, 61),
        44,
        {
            "image_unsafe_path": 1,
            "image_unreadable": 12,
            "image_size_wrong": 9,
            "image_orientation_ignored": 3,
            "image_frames_ignored": 2,
            "image_content_repeated": 14,
            "image_emptied": 4,
            "annotation_image_dropped": 13,
            "box_outside": 4,
            "segmentation_exceeds_image": 4,
        },
    ),
    "annotation_id_zero": ((2, 2), (3, 3), 3, {"annotation_id_assigned": 1}),
    "anns_to_missing_category": ((2, 2), (2, 3), 2, {"annotation_category_unknown": 1}),
    "anns_to_missing_image_id": ((2, 2), (2, 3), 2, {"annotation_image_unknown": 1}),
    "area_disagrees": ((2, 2), (4, 4), 4, {"annotation_repeated": 1, "area_invalid": 2, "area_disagrees": 1}),
    "baseline": ((2, 2), (3, 3), 3, {}),
    "bbox_strings": ((2, 2), (2, 2), 2, {"box_from_text": 1, "area_disagrees": 1}),
    "bbox_wrong_length": ((2, 2), (1, 3), 1, {"image_emptied": 1, "box_malformed": 2}),
    "boxes_fully_outside": ((2, 2), (1, 3), 1, {"image_emptied": 1, "box_outside": 2, "segmentation_exceeds_image": 2}),
    "category_id_gaps": ((2, 2), (3, 3), 3, {}),
    "category_id_huge": ((2, 2), (2, 2), 2, {}),
    "category_id_negative": ((2, 2), (2, 2), 2, {}),
    "category_id_zero": ((2, 2), (2, 2), 2, {}),
    "category_without_annotations": ((2, 2), (3, 3), 3, {}),
    "crowd_polygon": ((2, 2), (2, 2), 1, {}),
    "crowd_rle_compressed": ((2, 2), (3, 3), 2, {}),
    "crowd_rle_uncompressed": ((2, 2), (3, 3), 2, {}),
    "decodable_odd_images": ((23, 23), (23, 23), 23, {"image_orientation_ignored": 1, "image_content_repeated": 5}),
    "duplicate_annotation_ids": ((2, 2), (3, 3), 3, {"annotation_id_assigned": 1}),
    "duplicate_annotations": ((2, 2), (4, 4), 4, {"annotation_repeated": 2}),
    "duplicate_category_names": ((2, 2), (3, 3), 3, {"category_renamed": 1}),
    "duplicate_file_names": ((2, 2), (3, 3), 3, {"image_file_shared": 1}),
    "extreme_sizes": ((6, 6), (6, 6), 6, {}),
    "full_image_box": ((2, 2), (2, 2), 2, {}),
    "gzipped": ((2, 2), (3, 3), 3, {}),
    "gzipped_named_json": ((2, 2), (3, 3), 3, {}),
    "huge_coords": ((2, 2), (1, 2), 1, {"box_not_finite": 1, "segmentation_dropped": 1}),
    "image_id_zero_and_huge": ((2, 2), (2, 2), 2, {}),
    "image_without_annotations": ((3, 3), (1, 1), 1, {}),
    "inf_coords": ((2, 2), (1, 3), 1, {"image_emptied": 1, "box_not_finite": 2, "segmentation_dropped": 2}),
    "iscrowd_types": ((2, 2), (4, 4), 2, {"crowd_flag_converted": 4}),
    "lvis_baseline": ((2, 2), (3, 3), 3, {"image_federated": 2}),
    "lvis_missing_frequency": ((2, 2), (3, 3), 3, {"image_federated": 2}),
    "lvis_missing_neg": ((2, 2), (3, 3), 3, {}),
    "lvis_pos_and_neg": ((2, 2), (3, 3), 3, {"image_federated": 2}),
    "missing_area_iscrowd": ((2, 2), (3, 3), 3, {"area_missing": 3}),
    "missing_category_id": ((2, 2), (1, 2), 1, {"annotation_category_unknown": 1}),
    "missing_image_files": ((1, 3), (1, 3), 1, {"image_missing": 2, "annotation_image_dropped": 2}),
    "missing_width_height": ((2, 2), (3, 3), 3, {"image_size_missing": 2}),
    "mixed_id_types": ((2, 2), (2, 2), 2, {"image_id_converted": 1}),
    "nan_coords": ((2, 2), (1, 3), 1, {"image_emptied": 1, "box_not_finite": 2, "segmentation_dropped": 2}),
    "negative_size_boxes": ((2, 2), (1, 3), 1, {"image_emptied": 1, "box_negative": 2}),
    "no_annotation_ids": ((2, 2), (3, 3), 3, {"annotation_id_assigned": 3}),
    "no_bbox_only_polygon": ((2, 2), (1, 1), 1, {"box_from_segmentation": 1}),
    "noncrowd_rle": ((2, 2), (2, 2), 2, {}),
    "null_bbox": ((2, 2), (3, 3), 3, {"annotation_repeated": 1, "box_from_segmentation": 2}),
    "out_of_bounds_boxes": ((2, 2), (3, 3), 3, {"box_exceeds_image": 3, "segmentation_exceeds_image": 3}),
    "path_absolute": ((1, 2), (1, 3), 1, {"image_unsafe_path": 1, "annotation_image_dropped": 2}),
    "path_backslash": ((2, 2), (3, 3), 3, {"image_name_adapted": 1}),
    "path_directory": ((1, 2), (1, 3), 1, {"image_missing": 1, "annotation_image_dropped": 2}),
    "path_dotdot_inside": ((2, 2), (3, 3), 3, {"image_name_adapted": 1}),
    "path_empty": ((1, 2), (1, 3), 1, {"image_unnamed": 1, "annotation_image_dropped": 2}),
    "path_nested": ((2, 2), (3, 3), 3, {}),
    "path_newline": ((1, 2), (1, 3), 1, {"image_unsafe_path": 1, "annotation_image_dropped": 2}),
    "path_nfc": ((2, 2), (3, 3), 3, {"image_name_adapted": 1}),
    "path_nul": ((1, 2), (1, 3), 1, {"image_unsafe_path": 1, "annotation_image_dropped": 2}),
    "path_symlink_outside": ((1, 2), (1, 3), 1, {"image_unsafe_path": 1, "annotation_image_dropped": 2}),
    "path_traversal": ((1, 2), (1, 3), 1, {"image_unsafe_path": 1, "annotation_image_dropped": 2}),
    "path_unicode": ((2, 2), (3, 3), 3, {}),
    "path_url": ((1, 2), (1, 3), 1, {"image_unsafe_path": 1, "annotation_image_dropped": 2}),
    "polygon_empty": ((2, 2), (3, 3), 3, {"annotation_repeated": 1}),
    "polygon_multi_part": ((2, 2), (1, 1), 1, {}),
    "polygon_odd_length": ((2, 2), (1, 1), 1, {"segmentation_dropped": 1}),
    "polygon_out_of_bounds": ((2, 2), (1, 1), 1, {"segmentation_exceeds_image": 1}),
    "polygon_self_intersecting": ((2, 2), (1, 1), 1, {}),
    "polygon_two_points": ((2, 2), (2, 2), 2, {"segmentation_dropped": 2}),
    "string_ids": ((2, 2), (2, 2), 2, {"image_id_numbered": 2, "annotation_id_assigned": 2}),
    "utf16": ((2, 2), (3, 3), 3, {"file_encoding": 1}),
    "utf8_bom": ((2, 2), (3, 3), 3, {"file_encoding": 1}),
    "wrong_declared_size": ((2, 2), (3, 3), 3, {"image_size_wrong": 2}),
    "zero_area_boxes": ((2, 2), (1, 4), 1, {"image_emptied": 1, "box_empty": 3, "segmentation_dropped": 3}),
}


@pytest.fixture(scope="module")
def odd(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of broken inputs, with the files of awkward names unpacked."""
    folder = tmp_path_factory.mktemp("odd") / "odd"
    shutil.copytree(data / "odd", folder)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        path.chmod(0o755)
    with tarfile.open(folder / "odd_names.tar") as archive:
        archive.extractall(folder, filter="fully_trusted")
    return folder


def config(odd: Path, file: Path) -> PrepareConfig:
    source = SourceConfig(annotations=str(file), images=str(odd / "images"))
    return PrepareConfig(train=source, val=source, max_lost_images=1)


def files(folder: Path) -> dict[str, Path]:
    return {path.name.split(".")[0]: path for path in (folder / "annotations").iterdir()}


def test_every_file_has_an_expectation(odd: Path) -> None:
    assert set(files(odd)) == set(REFUSED) | set(PREPARED)
    assert not set(REFUSED) & set(PREPARED)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_reason(odd: Path, tmp_path: Path, name: str) -> None:
    path = files(odd)[name]
    with pytest.raises(UserError) as caught:
        prepare(config(odd, path), tmp_path / "dataset")
    assert REFUSED[name] in str(caught.value)
    assert str(path) in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PREPARED)
def test_prepared_and_reported(odd: Path, tmp_path: Path, name: str) -> None:
    images, annotations, trainable, findings = PREPARED[name]
    prepare(config(odd, files(odd)[name]), tmp_path / "dataset")
    report = read_report(tmp_path / "dataset").splits["train"]
    assert {finding.name: finding.count for finding in report.findings} == findings
    assert (report.images, report.listed_images) == images
    assert (report.annotations, report.listed_annotations) == annotations
    assert report.trainable == trainable
    # Whatever is missing is accounted for, one by one.
    lost = {finding.name: finding.count for finding in report.findings if finding.kind.action == "dropped"}
    assert images[1] - images[0] == sum(count for kind, count in lost.items() if kind.startswith("image"))
    assert annotations[1] - annotations[0] == sum(count for kind, count in lost.items() if not kind.startswith("image"))
    split = Split.open(tmp_path / "dataset", "train")
    for i in range(len(split)):
        record = split.record(i)
        assert record.read().shape == (record.height, record.width, 3)
        for k in range(len(record.labels)):
            assert record.mask(k).shape == (record.height, record.width)
    json.dumps(split.to_coco(), allow_nan=False)


def test_many_lost_images_are_an_error_by_default(odd: Path, tmp_path: Path) -> None:
    """A wrong folder or an interrupted download must not become a smaller dataset."""
    lenient = config(odd, files(odd)["missing_image_files"])
    with pytest.raises(UserError, match=r"2 of 3 images cannot be used \(image_missing 2\)"):
        prepare(PrepareConfig(train=lenient.train, val=lenient.val), tmp_path / "dataset")
