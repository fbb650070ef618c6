"""Kinds of finding about the annotation file, its categories, and the classes of a dataset."""

from __future__ import annotations

from codetr.data.validation.class_statistics import RARE
from codetr.data.validation.finding_kind import FindingKind

CATEGORY_FINDINGS = {
    "file_encoding": FindingKind(
        "repaired", "note", "byte-order mark or UTF-16 instead of plain UTF-8; decoded", "corrected"
    ),
    "label_file_missing": FindingKind(
        "kept",
        "note",
        "YOLO: no label file; read as an image without objects",
        "",
        "Check that no labels are missing, and that the paths of the label files follow those of the images.",
    ),
    "label_file_elsewhere": FindingKind(
        "repaired",
        "note",
        "YOLO: label file beside its image instead of in the folder 'labels', or with another spelling of its suffix",
    ),
    "label_file_unused": FindingKind(
        "dropped",
        "error",
        "label file that is not used: no image that is read belongs to it, or the image has another one",
        "",
        "Its objects are missing: where their image is used, they count as background. Move or rename the file.",
    ),
    "category_malformed": FindingKind(
        "dropped", "error", "not a JSON object, or no usable id", "removed", "Give every category an id."
    ),
    "category_repeated": FindingKind("repaired", "note", "same id and name listed twice; merged", "corrected"),
    "category_renamed": FindingKind(
        "repaired",
        "warning",
        "name missing, unprintable, or that of another category; named after its id",
        "corrected",
        "Give every category a unique name.",
    ),
    "category_id_converted": FindingKind(
        "repaired", "note", "id given as text or as a decimal number; converted to an integer", "corrected"
    ),
    "category_id_numbered": FindingKind(
        "repaired",
        "note",
        "id that is not a number, or the same number as another id; replaced by an unused integer, in annotations too",
        "corrected",
    ),
    "category_frequency_invalid": FindingKind(
        "dropped",
        "warning",
        "frequency other than r, c and f, or invalid image_count; ignored",
        "corrected",
        "LVIS metrics of rare, common and frequent classes leave out classes without a frequency.",
    ),
    "category_alike": FindingKind(
        "kept",
        "warning",
        "name differs from that of another class only in case, spaces or punctuation; read as another class",
        "",
        "Use the same spelling everywhere, or one class is learned as two.",
    ),
    "category_id_renumbered": FindingKind(
        "repaired", "note", "id differs from that in an earlier source; the earlier one is used"
    ),
}

CLASS_FINDINGS = {
    "class_unused": FindingKind(
        "kept", "warning", "no object in any split", "", "Remove the class, or annotate objects of it."
    ),
    "class_untrained": FindingKind(
        "kept",
        "warning",
        "objects in another split, but none in train",
        "",
        "The detector cannot learn this class. Draw the splits again so that train has every class.",
    ),
    "class_unevaluated": FindingKind(
        "kept", "note", "objects in train, but none in val", "", "Accuracy for this class cannot be measured."
    ),
    "class_rare": FindingKind(
        "kept",
        "note",
        f"fewer than {RARE} objects in train",
        "",
        "Expect low accuracy. Collect more images, or repeat those of the class (loader.sampling of a recipe).",
    ),
    "class_imbalance": FindingKind(
        "kept",
        "note",
        "less than a hundredth of the objects of the most frequent class",
        "",
        "Repeat images of rare classes (loader.sampling of a recipe), and check the metrics by class.",
    ),
}
