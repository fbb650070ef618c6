"""Kinds of finding about images: entries of the annotation file, image files, duplicates."""

from __future__ import annotations

from codetr.data.validation.finding_kind import FindingKind

IMAGE_FINDINGS = {
    "image_malformed": FindingKind(
        "dropped", "error", "not a JSON object, or no usable id", "removed", "Give every image an id."
    ),
    "image_id_converted": FindingKind(
        "repaired", "note", "id given as text or as a decimal number; converted to an integer", "corrected"
    ),
    "image_id_numbered": FindingKind(
        "repaired",
        "note",
        "id that is not a number, or the same number as another id; replaced by an unused integer, in annotations too",
        "corrected",
    ),
    "image_id_renumbered": FindingKind(
        "repaired", "note", "id used by an image of an earlier source; replaced by an unused one"
    ),
    "image_repeated": FindingKind("repaired", "note", "same id and file listed twice; merged", "corrected"),
    "image_unnamed": FindingKind(
        "dropped", "error", "neither file_name nor coco_url", "removed", "Name the file of every image."
    ),
    "image_name_from_url": FindingKind("repaired", "note", "no file_name; taken from the end of coco_url", "corrected"),
    "image_name_adapted": FindingKind(
        "repaired",
        "note",
        "found under another spelling of its path: slashes, `..`, percent-encoding, blanks or Unicode form",
        "corrected",
    ),
    "image_name_similar": FindingKind(
        "repaired",
        "warning",
        "no file of this name; the only one with other folders, another suffix, other case or a prefix is used",
        "corrected",
        "Check that they are the same images, or correct the names.",
    ),
    "image_unsafe_path": FindingKind(
        "dropped",
        "error",
        "absolute path, URL, control characters, or a path that leaves the image folder",
        "removed",
        "Use paths relative to the image folder, and inside it. --link-targets allows links to other folders.",
    ),
    "image_missing": FindingKind(
        "dropped",
        "error",
        "no such file in the image folder",
        "removed",
        "Check that this is the right image folder and that the download is complete.",
    ),
    "image_passed_over": FindingKind(
        "dropped",
        "warning",
        "readable image that is not used: its name has no suffix of an image, or it has no XML file (VOC)",
        "",
        "Rename it if it belongs to the dataset. A VOC image without objects needs an XML file without objects.",
    ),
    "image_ambiguous": FindingKind(
        "dropped",
        "error",
        "several files in the tar files have this name",
        "removed",
        "Give the files unique names, or keep only one of them.",
    ),
    "image_unreadable": FindingKind(
        "dropped",
        "error",
        "no permission, not an image, damaged, truncated, or too large to decode safely",
        "removed",
        "Check its permissions, download the file again, or convert it. Read an image of too many pixels with a higher "
        "max_pixels.",
    ),
    "image_size_missing": FindingKind("repaired", "note", "no width or height; read from the file", "corrected"),
    "image_size_wrong": FindingKind(
        "repaired",
        "warning",
        "width and height differ from those of the file, which are used",
        "corrected",
        "Check whether the boxes fit: they may belong to another version of the image.",
    ),
    "image_orientation_ignored": FindingKind(
        "repaired",
        "warning",
        "used as stored, without EXIF rotation: as the declared size or the boxes suggest",
        "",
        "Check whether the boxes fit: some tools export this size for boxes drawn on the upright image. It is best to "
        "rotate the pixels and remove the EXIF tag.",
    ),
    "image_frames_ignored": FindingKind(
        "kept",
        "note",
        "several pages or animation frames; the first is used",
        "",
        "Check that the annotations belong to the first frame.",
    ),
    "image_bits_unused": FindingKind(
        "kept",
        "warning",
        "nearly black: a 16-bit image that uses less than a quarter of its range, as of a 10-, 12- or 14-bit camera",
        "",
        "Set the range of 16-bit grey images when preparing, for example range_16bit=[0,4095] for 12 bits; of colour "
        "images only the upper 8 bits are read: convert them.",
    ),
    "image_values_clipped": FindingKind(
        "kept",
        "warning",
        "16-bit image with many values above range_16bit, all of which become white",
        "",
        "Raise the upper value of range_16bit, or prepare these images separately.",
    ),
    "image_federated": FindingKind("kept", "note", "LVIS lists of verified categories; evaluated by the rules of LVIS"),
    "image_verified_unknown": FindingKind(
        "dropped",
        "warning",
        "unknown category in an LVIS list of verified categories; ignored",
        "corrected",
        "Add the category, or correct the id: what the entry says about the image is lost.",
    ),
    "image_file_shared": FindingKind(
        "kept",
        "warning",
        "one file listed under several image ids",
        "",
        "List the image once, with all its annotations.",
    ),
    "image_content_repeated": FindingKind(
        "kept",
        "warning",
        "files with different names and identical content",
        "",
        "Keep one of them, with all its annotations: contradictory annotations lower accuracy.",
    ),
    "image_in_several_sources": FindingKind(
        "kept",
        "warning",
        "identical content in two sources of one split",
        "",
        "Remove it from one of them: contradictory annotations lower accuracy.",
    ),
    "image_nearly_repeated": FindingKind(
        "kept",
        "warning",
        "near duplicate of another image: rescaled, recompressed, or the next frame of a video",
        "",
        "Keep one of them, unless their objects differ.",
    ),
    "image_leaked": FindingKind(
        "kept",
        "error",
        "file that is also in another split: the model is evaluated on training images",
        "removed",
        "Metrics on that split are too high. Keep the image in one split.",
    ),
    "image_nearly_leaked": FindingKind(
        "kept",
        "warning",
        "near duplicate of an image of another split",
        "",
        "Split by scene, video or patient instead of by image.",
    ),
    "image_emptied": FindingKind(
        "kept",
        "warning",
        "all its annotations were dropped; used as background",
        "removed",
        "Fix the annotations, or remove the images. Keep them only if none of your classes is in them.",
    ),
    "image_empty": FindingKind(
        "kept",
        "note",
        "no annotation; used as background, which reduces false positives if it is intended",
        "",
        "Check that no annotations are missing.",
    ),
}
