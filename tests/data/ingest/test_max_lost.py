"""A source of which too much is lost is refused, with the numbers, the reason, examples and the way out."""

from __future__ import annotations

import pytest

from codetr.core.errors import UserError
from codetr.data.ingest.max_lost import MaxLost
from codetr.data.validation.findings import Findings


def require(lost: int, listed: int, found: dict[str, int], share: float = 0.5, boxes: str = "xywh") -> None:
    """Require annotations of which so many, of usable images, are lost, and those of other images in addition."""
    findings = Findings()
    for name, count in found.items():
        for k in range(count):
            findings.add(name, f"annotations[{k}]: {name}")
    limit = MaxLost(annotations=share)
    others = sum(found.get(name, 0) for name in ("annotation_image_dropped", "annotation_image_unknown"))
    limit.require_annotations(listed - lost, listed + others, findings, boxes=boxes, where="train.json")


def require_images(lost: int, listed: int, found: dict[str, int]) -> None:
    findings = Findings()
    for name, count in found.items():
        for k in range(count):
            findings.add(name, f"images[{k}]: {name}")
    MaxLost(images=0.5).require_images(lost, listed, findings, images="imgs", where="train.json")


def test_the_error_has_the_numbers_the_reason_examples_and_the_way_out() -> None:
    """Exit code 0 with a fraction of the boxes looks like success."""
    with pytest.raises(UserError) as caught:
        require(22, 30, {"box_empty": 4, "box_outside": 18, "image_missing": 2, "annotation_image_dropped": 7})
    said = str(caught.value)
    assert "train.json: 22 of 30 annotations cannot be used (box_outside 18, box_empty 4); most: completely" in said
    assert "annotations[0]: box_outside; annotations[1]: box_outside; annotations[2]: box_outside. " in said
    assert "Boxes are read as xywh: check that" in said
    assert said.endswith("Or raise max_lost_annotations.")


def test_the_advice_knows_how_boxes_are_read() -> None:
    with pytest.raises(UserError, match="read as cxcywh, as --boxes says"):
        require(12, 20, {"box_outside": 12}, boxes="cxcywh, as --boxes says")
    with pytest.raises(UserError, match="x, y, width, height instead: then leave out --boxes"):
        require(12, 20, {"box_inverted": 12}, boxes="xyxy, as --boxes says")


@pytest.mark.parametrize(
    ("lost", "listed", "share"), [(9, 9, 0.5), (10, 20, 0.5), (11, 20, 0.6), (20, 20, 1.0)], ids=str
)
def test_less_is_reported_only(lost: int, listed: int, share: float) -> None:
    """A few wrong records must not stop a dataset, nor does a limit that the user has raised."""
    require(lost, listed, {"box_empty": lost}, share)


def test_annotations_of_images_that_were_removed_from_the_file_do_not_count() -> None:
    """A file with a part of COCO's images and all of its annotations is a sound dataset."""
    require(0, 40, {"annotation_image_unknown": 60})
    require(20, 40, {"annotation_image_unknown": 60, "box_empty": 20})
    with pytest.raises(UserError, match=r"21 of 40 annotations cannot be used \(box_empty 21\)"):
        require(21, 40, {"annotation_image_unknown": 60, "box_empty": 21})


def test_ids_of_which_none_is_listed_are_wrong() -> None:
    with pytest.raises(UserError, match=r"60 of 60 annotations cannot be used \(annotation_image_unknown 60\)"):
        require(0, 0, {"annotation_image_unknown": 60})


def test_the_reason_for_lost_images_is_one_that_loses_images() -> None:
    """Files that are passed over are not in the annotation file: renaming them finds no missing one."""
    with pytest.raises(UserError, match=r"6 of 10 images.* \(image_missing 6\), e\.g\..*Is imgs the right"):
        require_images(6, 10, {"image_missing": 6, "image_passed_over": 30, "image_verified_unknown": 8})
    with pytest.raises(UserError, match=r"6 of 10 images cannot be used\. Raise max_lost_images"):
        require_images(6, 10, {"image_passed_over": 30})


def test_a_wrong_meaning_is_refused_although_nothing_is_lost() -> None:
    """Corners read as sizes are boxes, too: wrong ones."""
    with pytest.raises(UserError, match=r"valid only as two corners.*--boxes xyxy.*max_lost_annotations=1"):
        require(0, 3, {"boxes_are_corners": 1})
    require(0, 3, {"boxes_are_corners": 1}, share=1.0)
