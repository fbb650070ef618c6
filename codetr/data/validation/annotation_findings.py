"""Kinds of finding about annotations: references, boxes, areas, crowd flags, segmentations, duplicates."""

from __future__ import annotations

from codetr.data.config import BoxFormat
from codetr.data.validation.finding_kind import FindingKind

_AREA_ADVICE = "COCO metrics use this area to sort objects into small, medium and large."


BOX_FORMAT_FINDINGS: dict[BoxFormat, str] = {
    "xywh": "boxes_are_plain",
    "xyxy": "boxes_are_corners",
    "cxcywh": "boxes_are_centres",
    "relative_xywh": "boxes_are_relative",
    "relative_xyxy": "boxes_are_relative_corners",
    "relative_cxcywh": "boxes_are_relative_centres",
}
"""Finding about all boxes of a source that seem to be written in this format, and are read in another one."""


def _written_as(box_format: BoxFormat, meaning: str) -> FindingKind:
    advice = (
        f"If so, convert them: --boxes {box_format} if it holds for all sources, --train-boxes, --val-boxes or "
        f"--test-boxes for one of them, or `boxes: {box_format}` of the source in params.yaml."
    )
    if box_format == "xywh":
        advice = "If so, leave out --boxes (or --train-boxes, …), or `boxes` of the source in params.yaml."
    return FindingKind("kept", "error", f"nearly all boxes are valid only as {meaning}", "", advice)


ANNOTATION_FINDINGS = {
    "boxes_are_plain": _written_as("xywh", "x, y, width, height in pixels, which is COCO's format"),
    "boxes_are_corners": _written_as("xyxy", "two corners (x1, y1, x2, y2) in pixels"),
    "boxes_are_centres": _written_as("cxcywh", "centre and size in pixels"),
    "boxes_are_relative": _written_as("relative_xywh", "x, y, width, height in shares of the image's sides (0 to 1)"),
    "boxes_are_relative_corners": _written_as("relative_xyxy", "two corners in shares of the image's sides (0 to 1)"),
    "boxes_are_relative_centres": _written_as(
        "relative_cxcywh", "centre and size in shares of the image's sides (0 to 1)"
    ),
    "boxes_of_other_format": FindingKind(
        "kept",
        "error",
        "VOC, YOLO: nearly all boxes are valid only in another format than that of the files",
        "",
        "Convert the files: rows of YOLO are class, centre, width and height in shares of the image's sides (0 to 1); "
        "boxes of VOC are xmin, ymin, xmax, ymax in pixels.",
    ),
    "box_converted": FindingKind(
        "repaired", "note", "converted from the format in the settings to x, y, width, height in pixels", "corrected"
    ),
    "annotation_malformed": FindingKind(
        "dropped",
        "error",
        "not a JSON object, or an invalid row of a YOLO label file",
        "removed",
        "A row of YOLO is a class number and four numbers, or a class number and the points of a polygon, separated by "
        "blanks, with points as decimal signs.",
    ),
    "annotation_image_unknown": FindingKind(
        "dropped",
        "error",
        "no image_id, or one that is not listed",
        "removed",
        "Check that the images and the annotations come from the same export.",
    ),
    "annotation_image_dropped": FindingKind("dropped", "error", "its image was dropped", "removed", "Fix the images."),
    "annotation_category_unknown": FindingKind(
        "dropped",
        "error",
        "no category_id, or one that is not listed",
        "removed",
        "Add the category, or correct the id: ids may count from 0 in annotations and from 1 in categories.",
    ),
    "category_ids_shifted": FindingKind(
        "kept",
        "error",
        "annotations refer to ids that are all one less, or all one more, than those of the categories",
        "",
        "Make the ids equal: as they are, every object has the class before or after the right one.",
    ),
    "annotation_id_assigned": FindingKind(
        "repaired",
        "warning",
        "no integer id, one used before, or 0 (which means 'no match' in COCO metrics); replaced",
        "corrected",
        "Files that refer to annotations by id no longer match.",
    ),
    "annotation_id_renumbered": FindingKind(
        "repaired", "note", "id used by an annotation of an earlier source; replaced by an unused one"
    ),
    "annotation_repeated": FindingKind(
        "kept",
        "warning",
        "same image, category and box as another annotation",
        "removed",
        "Evaluation counts the copy as a missed object, even for a perfect detector.",
    ),
    "box_nearly_repeated": FindingKind(
        "kept",
        "warning",
        "nearly equal to another box of its class (IoU at least 0.95)",
        "removed",
        "Almost always one object that was annotated twice.",
    ),
    "box_of_two_classes": FindingKind(
        "kept",
        "warning",
        "nearly equal to a box of another class (IoU at least 0.95)",
        "",
        "Choose one class, unless an object may have two.",
    ),
    "annotation_ignored": FindingKind("kept", "note", "marked with ignore; evaluated, not trained on"),
    "annotation_difficult": FindingKind(
        "kept", "note", "marked as difficult in VOC; read as a crowd: ignored in evaluation, not trained on"
    ),
    "annotation_tracked": FindingKind(
        "repaired",
        "warning",
        "YOLO: row that ends with a confidence and a track id, which are left out",
        "",
        "Such rows are predictions of a tracker: check them before they are used as labels.",
    ),
    "annotation_triangle": FindingKind(
        "kept",
        "warning",
        "YOLO: row of seven columns, read as a polygon of three points; no polygon has more",
        "",
        "Check what the columns are: a class, a box and two other numbers, such as a confidence, have the same form.",
    ),
    "annotation_keypoints": FindingKind(
        "kept",
        "error",
        "YOLO: row that looks like a box and keypoints, read as a polygon",
        "",
        "If these are labels of a pose dataset, remove the keypoints: a row is a class and a box (cx cy w h).",
    ),
    "annotation_crowd": FindingKind(
        "kept", "note", "crowd, a region of several objects; ignored in evaluation, not trained on"
    ),
    "box_missing": FindingKind("dropped", "error", "neither bbox nor a segmentation to compute it from", "removed"),
    "box_from_segmentation": FindingKind("repaired", "note", "no bbox; computed from the segmentation", "corrected"),
    "box_malformed": FindingKind("dropped", "error", "not four numbers", "removed"),
    "box_from_text": FindingKind("repaired", "note", "numbers given as text; converted", "corrected"),
    "box_not_finite": FindingKind(
        "dropped",
        "error",
        "NaN, infinity, or more than a million pixels",
        "removed",
        "Look for a division by zero in the export.",
    ),
    "box_negative": FindingKind(
        "dropped",
        "error",
        "negative width or height",
        "removed",
        "Look in the export for corners in the wrong order.",
    ),
    "box_inverted": FindingKind(
        "dropped",
        "error",
        "read as two corners, of which the second is left of or above the first",
        "removed",
        "Check whether the boxes are x, y, width, height instead: then leave out --boxes, or `boxes` of the source.",
    ),
    "box_empty": FindingKind(
        "dropped", "error", "zero width or height", "removed", "Annotate the object again, or remove the annotation."
    ),
    "box_outside": FindingKind(
        "dropped",
        "error",
        "completely outside the image",
        "removed",
        "Check whether the boxes belong to another version of the image.",
    ),
    "box_exceeds_image": FindingKind(
        "kept",
        "warning",
        "more than a pixel beyond the border of the image; clipped for training",
        "corrected",
        "If there are many, or they are far outside, the boxes may belong to an image of another size.",
    ),
    "box_tiny": FindingKind(
        "kept",
        "warning",
        "less than a pixel wide or high inside the image; evaluated, not trained on",
        "removed",
        "Annotate the object again, or remove the annotation.",
    ),
    "box_disagrees_with_segmentation": FindingKind(
        "kept",
        "warning",
        "an edge is more than two pixels and a tenth of its side away from the segmentation",
        "corrected",
        "Check whether one of the two belongs to another object, or to another version of the image.",
    ),
    "box_elongated": FindingKind(
        "kept",
        "note",
        "more than twenty times as long as wide",
        "",
        "Check whether it is intended: few anchors and proposals have this shape.",
    ),
    "box_whole_image": FindingKind(
        "kept",
        "note",
        "covers at least 98 % of its image",
        "",
        "Check whether it labels the image rather than an object.",
    ),
    "box_small_at_input": FindingKind(
        "kept",
        "note",
        "covers less than 64 pixels (8 by 8) of the network input",
        "",
        "Train at a higher resolution, cut images into tiles, or expect that these objects are missed.",
    ),
    "area_missing": FindingKind(
        "repaired", "note", "no area; computed from the segmentation, else from the box", "corrected"
    ),
    "area_invalid": FindingKind(
        "repaired",
        "warning",
        "negative, not a finite number, or of a converted box; computed from the segmentation, else from the box",
        "corrected",
    ),
    "area_disagrees": FindingKind(
        "kept",
        "warning",
        "larger than the box, or without a segmentation not the area of the box",
        "corrected",
        _AREA_ADVICE,
    ),
    "area_disagrees_with_segmentation": FindingKind(
        "kept",
        "warning",
        "differs by more than a fifth from the area of the segmentation",
        "corrected",
        _AREA_ADVICE,
    ),
    "crowd_flag_converted": FindingKind(
        "repaired", "note", "crowd flag (iscrowd) other than 0 or 1; converted", "corrected"
    ),
    "segmentation_part_dropped": FindingKind(
        "repaired",
        "note",
        "polygon that encloses nothing, or with an odd number of coordinates; dropped from the segmentation",
        "corrected",
    ),
    "segmentation_dropped": FindingKind(
        "repaired",
        "warning",
        "no polygon that encloses anything, and no run-length code of the size of the image; the box is kept",
        "corrected",
        "Training with masks needs a segmentation of every object.",
    ),
    "segmentation_exceeds_image": FindingKind("kept", "note", "polygon points outside the image", "corrected"),
    "segmentation_missing": FindingKind(
        "kept",
        "warning",
        "no segmentation, although other objects have one",
        "",
        "Masks can be trained and evaluated only if every object has one.",
    ),
}
