"""docs/reference/odd_files.md: every broken or unusual file that is tested has a row with its real outcome."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.data.dataset.split import Split
from codetr.data.ingest.summary import read_report
from codetr.data.validation.finding_kinds import KINDS
from codetr.evaluation.metrics.coco import evaluate_coco
from codetr.evaluation.tables.coco_json import read_ground_truth, read_predictions
from codetr.steps.prepare import prepare
from tests.realdata.test_prepare_odd import PREPARED, REFUSED, config, files, odd  # noqa: F401
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "reference" / "odd_files.md"
INCIDENTAL = {
    "image_emptied",
    "annotation_image_dropped",
    "annotation_repeated",
    "area_disagrees",
    "image_content_repeated",
}
INCIDENTAL |= {"image_orientation_ignored", "image_federated", "segmentation_dropped", "segmentation_exceeds_image"}
"""Findings that files have in addition to the one that they were made for."""

# The files of every row, in the order of the page.
ANNOTATIONS = """
empty_file
truncated
trailing_comma
binary latin1
deep_nesting
duplicate_keys
top_level_list top_level_null
only_images_key
empty_images
no_categories
no_annotations
all_crowd
utf16 utf8_bom
gzipped gzipped_named_json
baseline
duplicate_image_ids
duplicate_category_ids
duplicate_category_names
category_id_gaps category_id_huge category_id_negative category_id_zero
category_without_annotations
image_id_zero_and_huge
string_ids
mixed_id_types
annotation_id_zero duplicate_annotation_ids no_annotation_ids
anns_to_missing_image_id
anns_to_missing_category missing_category_id
image_without_annotations
duplicate_file_names
missing_image_files path_directory
no_file_name
path_empty
path_absolute path_newline path_nul path_url
path_symlink_outside path_traversal
path_backslash path_dotdot_inside path_nfc
path_nested path_unicode
missing_width_height
wrong_declared_size
extreme_sizes
decodable_odd_images
all_odd_images
bbox_wrong_length
huge_coords inf_coords nan_coords
negative_size_boxes
zero_area_boxes
boxes_fully_outside
tiny_boxes
out_of_bounds_boxes
full_image_box
bbox_strings
no_bbox_only_polygon null_bbox
duplicate_annotations
missing_area_iscrowd
area_disagrees
iscrowd_types
polygon_odd_length polygon_two_points
rle_counts_sum_long rle_counts_sum_short rle_garbage_string rle_negative_counts rle_wrong_size
polygon_out_of_bounds
polygon_empty
polygon_multi_part polygon_self_intersecting
crowd_rle_compressed crowd_rle_uncompressed noncrowd_rle
crowd_polygon
lvis_baseline lvis_missing_frequency lvis_pos_and_neg
lvis_missing_neg
"""
IMAGES = """
truncated_half.jpg truncated_90pct.jpg truncated_no_eoi.jpg truncated_header.jpg png_truncated.png png_bad_crc.png
zero_bytes.jpg random_bytes.jpg html_error_page.jpg lfs_pointer.jpg
bomb_20000x20000.png
float32.tiff
bitflips.jpg trailing_garbage.jpg
gray.jpg cmyk.jpg gray16.png rgb16.png rgba.png gray_alpha.png palette.png palette_transparent.png one_bit.png
exif_orientation_5.jpg exif_orientation_6.jpg exif_orientation_8.jpg
exif_orientation_0.jpg exif_broken.jpg
gif_animated.gif tiff_two_pages.tiff
progressive.jpg webp_lossy.webp plain.bmp
png_named_jpg.jpg jpg_named_png.png UPPERCASE.JPG no_extension
one_pixel.png one_pixel.jpg two_by_three.png one_column.png very_wide.jpg very_tall.jpg
all_black.png all_white.png
*
sub/dir/nested.jpg symlink.jpg
symlink_outside.jpg
"""
PLAIN = {"ok_rgb.jpg", "ok_rgb.png", "ok_second.jpg", "exif_orientation_2.jpg", "exif_orientation_3.jpg"}
RESULTS = """
dt_dict_not_list
dt_unknown_image dt_unknown_category
dt_missing_score
dt_string_score dt_nan_score dt_score_out_of_range
dt_nan_bbox
dt_negative_size
dt_empty
dt_all_equal_scores dt_int_score dt_float_ids
dt_many_150
dt_baseline
"""


@dataclass(frozen=True)
class Row:
    what: str
    outcome: str
    said: tuple[str, ...]
    files: tuple[str, ...]


def rows(heading: str, of: str) -> list[Row]:
    """The rows of the page's tables under the headings that match, each with its files."""
    found = []
    for section in PAGE.read_text(encoding="utf-8").split("\n## ")[1:]:
        title, text = section.split("\n", 1)
        if re.fullmatch(heading, title):
            cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*", text, re.M)]
            found += [(what, outcome, tuple(re.findall(r"`([^`]+)`", said))) for what, outcome, said in cells[2:]]
    names = [tuple(line.split()) for line in of.strip().splitlines()]
    return [Row(*row, names) for row, names in zip(found, names, strict=True)]


ANNOTATION_ROWS = rows("(?!Image files|Result files|Labels, spellings and links|Weights and models).*", ANNOTATIONS)


def findings(name: str) -> set[str]:
    """Of a file that is prepared, or that is refused for what its records came to."""
    if name in PREPARED:
        return set(PREPARED[name][3])
    return {kind for kind in re.findall(r"\w+", REFUSED[name]) if kind in KINDS}


def test_every_annotation_file_has_one_row() -> None:
    listed = Counter(name for row in ANNOTATION_ROWS for name in row.files)
    assert set(listed) == {*REFUSED, *PREPARED}
    assert set(listed.values()) == {1}


@pytest.mark.parametrize("row", ANNOTATION_ROWS, ids=lambda row: row.files[0])
def test_rows_of_annotation_files_say_what_is_done(odd: Path, tmp_path: Path, row: Row) -> None:  # noqa: F811
    if row.outcome == "refused":
        assert row.said
        for name in row.files:
            with pytest.raises(UserError) as caught:
                prepare(config(odd, files(odd)[name]), tmp_path / "dataset")
            assert all(part in str(caught.value) for part in row.said)
    else:
        # What was found in a file, as the tests of `prepare` have it.
        named = set(row.said)
        assert row.outcome == gravest(named)
        for name in row.files:
            assert findings(name) & named or not named
            assert findings(name) - named <= INCIDENTAL or "images" in name
        assert named <= {kind for name in row.files for kind in findings(name)}


def gravest(named: set[str]) -> str:
    actions = {KINDS[kind].action for kind in named}
    return next((action for action in ("dropped", "repaired") if action in actions), "kept")


def test_rows_of_images_say_what_is_done(odd: Path, tmp_path: Path) -> None:  # noqa: F811
    prepare(config(odd, files(odd)["all_odd_images"]), tmp_path / "dataset")
    split, report = Split.open(tmp_path / "dataset", "train"), read_report(tmp_path / "dataset").splits["train"]
    content = json.loads(files(odd)["all_odd_images"].read_text(encoding="utf-8"))
    listed = {entry["file_name"]: entry["id"] for entry in content["images"]}
    table = rows("Image files", IMAGES)
    named = {name for row in table for name in row.files} | PLAIN
    assert named - {"*"} <= set(listed)
    kept = set(split.image_ids.tolist())
    for row in table:
        assert row.outcome == gravest(set(row.said))
        # The star stands for all others: those that are unusual by name.
        for name in set(listed) - named if row.files == ("*",) else row.files:
            assert (listed[name] in kept) == (row.outcome != "dropped"), name
            for kind in row.said:
                (finding,) = (finding for finding in report.findings if finding.name == kind)
                assert any(re.match(rf"image {listed[name]}\b", example) for example in finding.examples), name


@pytest.mark.parametrize("row", rows("Result files", RESULTS), ids=lambda row: row.files[0])
def test_rows_of_result_files_say_what_is_done(data: Path, row: Row) -> None:
    ground_truth = read_ground_truth(data / "odd" / "annotations" / "baseline.json")
    for name in row.files:
        path = data / "odd" / "results" / f"{name}.json"
        if row.outcome == "refused":
            assert row.said
            with pytest.raises(UserError) as caught:
                read_predictions(path, ground_truth)
            assert all(part in str(caught.value) for part in row.said)
        else:
            assert evaluate_coco(ground_truth, read_predictions(path, ground_truth)).summary["AP"] is not None


def test_every_result_file_has_one_row(data: Path) -> None:
    listed = [name for row in rows("Result files", RESULTS) for name in row.files]
    assert sorted(listed) == sorted(path.stem for path in (data / "odd" / "results").iterdir())
