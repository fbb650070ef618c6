"""Every kind of finding there is: what `prepare` does about it, how much it matters, and what can be done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["dropped", "repaired", "kept"]

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Something is lost or measured wrongly; it will probably hurt; it is worth knowing. The gravest first."""


@dataclass(frozen=True)
class Kind:
    """A kind of finding.

    Attributes:
        action: what `prepare` does with the record.
        severity: how much it matters.
        meaning: what is found, and why the action is right.
        fix: what `doctor --fix` does with the record: "removed", "corrected", or nothing.
        advice: what a person can do about it; full sentences, or nothing.
    """

    action: Action
    severity: Severity
    meaning: str
    fix: Literal["removed", "corrected", ""] = ""
    advice: str = ""


KINDS: dict[str, Kind] = {
    # The annotation file.
    "file_encoding": Kind(
        "repaired", "note", "a byte-order mark or UTF-16 instead of plain UTF-8; decoded", "corrected"
    ),
    "label_file_missing": Kind(
        "kept",
        "note",
        "YOLO: no label file; an image without objects",
        "",
        "Make sure that nothing was forgotten in them, and that the labels are where the images' paths say.",
    ),
    # Categories.
    "category_malformed": Kind(
        "dropped", "error", "not an object, or no usable id", "removed", "Give every category an integer id."
    ),
    "category_repeated": Kind("repaired", "note", "the same id and name listed twice; merged", "corrected"),
    "category_renamed": Kind(
        "repaired",
        "warning",
        "no printable name, or the name of another category; named after its id",
        "corrected",
        "Give every category a name of its own.",
    ),
    "category_id_converted": Kind(
        "repaired", "note", "an id given as text or decimal number; read as an integer", "corrected"
    ),
    "category_frequency_invalid": Kind(
        "dropped",
        "warning",
        "a frequency other than r, c and f, or an image_count that is none",
        "corrected",
        "LVIS's metrics of rare, common and frequent classes leave a class without frequency out.",
    ),
    "category_alike": Kind(
        "kept",
        "warning",
        "the name of a class of an earlier source but for case, blanks or signs: another class",
        "",
        "Write the name alike in all sources, or what is one class is learned as two.",
    ),
    "category_id_renumbered": Kind(
        "repaired", "note", "another id than in an earlier source; that of the earlier one counts"
    ),
    # Images.
    "image_malformed": Kind("dropped", "error", "not an object, or no usable id", "removed", "Give every image an id."),
    "image_id_converted": Kind(
        "repaired", "note", "an id given as text or decimal number; read as an integer", "corrected"
    ),
    "image_id_numbered": Kind(
        "repaired", "note", "an id that is no number; a free integer takes its place everywhere", "corrected"
    ),
    "image_id_renumbered": Kind(
        "repaired", "note", "an id that an image of an earlier source has; a free one takes its place"
    ),
    "image_repeated": Kind("repaired", "note", "the same id and file listed twice; merged", "corrected"),
    "image_unnamed": Kind(
        "dropped", "error", "neither file_name nor coco_url", "removed", "Name the file of every image."
    ),
    "image_name_from_url": Kind("repaired", "note", "no file_name; the end of coco_url names the file", "corrected"),
    "image_name_adapted": Kind(
        "repaired", "note", "found under another spelling: slashes, `..`, or Unicode form", "corrected"
    ),
    "image_unsafe_path": Kind(
        "dropped",
        "error",
        "absolute, a URL, with control characters, or leading out of the image folder",
        "removed",
        "Name files relative to the image folder and keep them in it.",
    ),
    "image_missing": Kind(
        "dropped",
        "error",
        "no such file in the image folder",
        "removed",
        "Is the image folder the right one, and the download complete?",
    ),
    "image_ambiguous": Kind(
        "dropped",
        "error",
        "several files in the tar files have its name",
        "removed",
        "Give the files names that no two of them share, or leave all but one out.",
    ),
    "image_unreadable": Kind(
        "dropped",
        "error",
        "not an image, damaged, cut short, or more pixels than are safe to decode",
        "removed",
        "Fetch the file again, or convert it.",
    ),
    "image_size_missing": Kind("repaired", "note", "no width or height; taken from the file", "corrected"),
    "image_size_wrong": Kind(
        "repaired",
        "warning",
        "width and height differ from the file's; the file counts",
        "corrected",
        "Look whether the boxes fit: they may belong to another version of the image.",
    ),
    "image_orientation_ignored": Kind(
        "repaired",
        "warning",
        "the declared size is that before EXIF rotation, so the annotations are too; read as stored",
        "",
        "Look whether the boxes fit; best is to turn the pixels and to drop the tag.",
    ),
    "image_frames_ignored": Kind(
        "kept",
        "note",
        "several pages or animation frames; the first is used",
        "",
        "Make sure that the annotations are those of the first frame.",
    ),
    "image_federated": Kind("kept", "note", "LVIS's lists of verified categories; evaluation follows LVIS's rules"),
    "image_verified_unknown": Kind(
        "dropped",
        "warning",
        "an entry of LVIS's lists that is no listed category",
        "corrected",
        "List the category, or correct the id: what the entry says of the image is lost.",
    ),
    "image_file_shared": Kind(
        "kept",
        "warning",
        "one file listed under several image ids",
        "",
        "List an image once, with all its annotations.",
    ),
    "image_content_repeated": Kind(
        "kept",
        "warning",
        "files of different names with identical content",
        "",
        "Keep one of them, with all its annotations: where they contradict, training learns neither.",
    ),
    "image_in_several_sources": Kind(
        "kept",
        "warning",
        "identical content in two sources of one split",
        "",
        "Leave it out of one source: where the annotations contradict, training learns neither.",
    ),
    "image_nearly_repeated": Kind(
        "kept",
        "warning",
        "looks like another image: rescaled, compressed anew, or the next frame of a film",
        "",
        "Keep one of them, unless their objects differ.",
    ),
    "image_leaked": Kind(
        "kept",
        "error",
        "its file is in another split, too: what was trained on is measured",
        "removed",
        "The evaluation looks better than the detector is. Keep it in one split.",
    ),
    "image_nearly_leaked": Kind(
        "kept",
        "warning",
        "looks like an image of another split",
        "",
        "Split by scene, film or patient instead of by image.",
    ),
    "image_emptied": Kind(
        "kept",
        "warning",
        "every annotation of it was dropped: it is trained on as background",
        "removed",
        "Mend the annotations, or take the images out. All is well only if what was dropped is of no class of yours.",
    ),
    "image_empty": Kind(
        "kept",
        "note",
        "no annotation: background, which lowers false alarms if it is meant",
        "",
        "Make sure that nothing was forgotten in them.",
    ),
    # Annotations.
    "annotation_malformed": Kind("dropped", "error", "not an object, or no row of a YOLO label file", "removed"),
    "annotation_image_unknown": Kind(
        "dropped",
        "error",
        "its image_id is missing or not listed",
        "removed",
        "Do the images and the annotations come from one export?",
    ),
    "annotation_image_dropped": Kind("dropped", "error", "its image was dropped", "removed", "Bring the images back."),
    "annotation_category_unknown": Kind(
        "dropped",
        "error",
        "its category_id is missing or not listed",
        "removed",
        "List the category, or correct the id.",
    ),
    "annotation_id_assigned": Kind(
        "repaired",
        "warning",
        "its id is missing, no integer, 0 (which the COCO metrics take for 'no match') or used before",
        "corrected",
        "Results that refer to annotations by id cannot be matched any more.",
    ),
    "annotation_id_renumbered": Kind(
        "repaired", "note", "an id that an annotation of an earlier source has; a free one takes its place"
    ),
    "annotation_repeated": Kind(
        "kept",
        "warning",
        "same image, category and box as another annotation",
        "removed",
        "A copy counts as an object that is missed in evaluation, however good the detector.",
    ),
    "box_nearly_repeated": Kind(
        "kept",
        "warning",
        "covers another box of its class nearly exactly (IoU at least 0.95)",
        "removed",
        "Nearly always one object annotated twice.",
    ),
    "box_of_two_classes": Kind(
        "kept",
        "warning",
        "covers a box of another class nearly exactly (IoU at least 0.95)",
        "",
        "Decide for one class, unless an object may have two.",
    ),
    "annotation_ignored": Kind("kept", "note", "marked with ignore; evaluated, not trained on"),
    "annotation_difficult": Kind(
        "kept", "note", "marked as difficult in VOC; a crowd: evaluated as such, not trained on"
    ),
    "annotation_crowd": Kind(
        "kept", "note", "a region of several objects; evaluated as one to be ignored, never trained on"
    ),
    "box_missing": Kind("dropped", "error", "neither bbox nor a segmentation to derive it from", "removed"),
    "box_from_segmentation": Kind("repaired", "note", "no bbox; derived from the segmentation", "corrected"),
    "box_malformed": Kind("dropped", "error", "not four numbers", "removed"),
    "box_from_text": Kind("repaired", "note", "numbers given as text", "corrected"),
    "box_not_finite": Kind(
        "dropped",
        "error",
        "NaN, infinity, or more than a million pixels",
        "removed",
        "Look for a division by zero in the export.",
    ),
    "box_negative": Kind(
        "dropped",
        "error",
        "negative width or height",
        "removed",
        "Are the boxes perhaps corners (x1, y1, x2, y2) in another order?",
    ),
    "box_empty": Kind("dropped", "error", "zero width or height", "removed", "Annotate it anew, or leave it out."),
    "box_outside": Kind(
        "dropped",
        "error",
        "wholly outside the image",
        "removed",
        "Do the boxes belong to another version of the image?",
    ),
    "box_exceeds_image": Kind(
        "kept",
        "warning",
        "sticks out by more than a pixel; clipped for training",
        "corrected",
        "Many of them, or far out, tell that the boxes belong to an image of another size.",
    ),
    "box_tiny": Kind(
        "kept",
        "warning",
        "narrower or lower than a pixel inside the image; evaluated, not trained on",
        "removed",
        "Annotate it anew, or leave it out.",
    ),
    "box_disagrees_with_segmentation": Kind(
        "kept",
        "warning",
        "an edge differs from its segmentation's by more than two pixels and a tenth of its side",
        "corrected",
        "Is one of the two of another object, or of another version of the image?",
    ),
    "box_elongated": Kind(
        "kept",
        "note",
        "more than twenty times as long as wide",
        "",
        "Look whether it is meant; anchors and proposals of such boxes are rare.",
    ),
    "box_whole_image": Kind(
        "kept",
        "note",
        "covers at least 98 % of its image",
        "",
        "Look whether it is a label of the image rather than an object.",
    ),
    "box_small_at_input": Kind(
        "kept",
        "note",
        "covers less than 8 by 8 pixels of the network's input",
        "",
        "Train at a higher resolution, cut images into tiles, or do without them.",
    ),
    "area_missing": Kind("repaired", "note", "no area; computed from the segmentation, else the box", "corrected"),
    "area_invalid": Kind(
        "repaired",
        "warning",
        "negative or not a finite number; computed from the segmentation, else the box",
        "corrected",
    ),
    "area_disagrees": Kind(
        "kept",
        "warning",
        "larger than the box, or without segmentation not the box's area",
        "corrected",
        "The COCO metrics take the size range of an object from this area.",
    ),
    "area_disagrees_with_segmentation": Kind(
        "kept",
        "warning",
        "differs by more than a fifth from the area within its segmentation",
        "corrected",
        "The COCO metrics take the size range of an object from this area.",
    ),
    "crowd_flag_converted": Kind("repaired", "note", "iscrowd other than 0 or 1; read as a truth value", "corrected"),
    "segmentation_part_dropped": Kind(
        "repaired", "note", "a polygon of fewer than three points or an odd number of values", "corrected"
    ),
    "segmentation_dropped": Kind(
        "repaired",
        "warning",
        "not a polygon list or run-length code of the image's size; box kept",
        "corrected",
        "Training masks needs a segmentation of every object.",
    ),
    "segmentation_exceeds_image": Kind("kept", "note", "polygon points outside the image", "corrected"),
    "segmentation_missing": Kind(
        "kept",
        "warning",
        "no segmentation, where other objects have one",
        "",
        "Masks can be trained and measured only when every object has one.",
    ),
    # Classes.
    "class_unused": Kind(
        "kept", "warning", "no object in any split", "", "Remove the class, or annotate objects of it."
    ),
    "class_untrained": Kind(
        "kept",
        "warning",
        "objects in another split, none in train",
        "",
        "The detector cannot learn it; split anew, so that every class is in train.",
    ),
    "class_unevaluated": Kind(
        "kept", "note", "objects in train, none in val", "", "Nothing will be known of how well it is detected."
    ),
    "class_rare": Kind(
        "kept",
        "note",
        "fewer than 10 objects in train",
        "",
        "Expect little of it; collect more, or repeat its images (loader settings of a recipe).",
    ),
    "class_imbalance": Kind(
        "kept",
        "note",
        "less than a hundredth of the objects of the most frequent class",
        "",
        "Repeat images with rare classes (loader settings of a recipe), and look at the metrics by class.",
    ),
}
"""Every finding there is, in the order in which records meet them. docs/reference/findings.md shows it as a table."""
