"""Options of sources: which hold for all splits, and which for one."""

from __future__ import annotations

import pytest

from codetr.core.errors import UserError
from codetr.data.ingest.config import PrepareConfig
from codetr.steps.sources import sources_by_split

pytestmark = pytest.mark.fast


def test_the_format_of_boxes_is_that_of_each_source() -> None:
    """`--boxes` held for every source, so a val in COCO's format beside a train of corners could not be prepared."""
    sources = sources_by_split(
        train=["a.json", "b.json"], val=["c.json"], test=["d.json"], train_boxes=["xyxy", "xywh"], val_boxes=["cxcywh"]
    )
    formats = {split: [source["boxes"] for source in several] for split, several in sources.items()}
    assert formats == {"train": ["xyxy", "xywh"], "val": ["cxcywh"], "test": ["xywh"]}


def test_the_format_of_a_split_wins_over_that_of_all() -> None:
    sources = sources_by_split(train=["a", "b"], val=["c"], boxes="xyxy", val_boxes=["xywh"])
    assert [source["boxes"] for source in sources["train"] + sources["val"]] == ["xyxy", "xyxy", "xywh"]


def test_a_misspelt_format_is_answered_with_the_similar_one() -> None:
    with pytest.raises(UserError) as caught:
        sources_by_split(train=["a"], train_boxes=["xyxyz"])
    assert "--train-boxes: 'xyxyz' is no format of boxes" in str(caught.value)
    assert "Did you mean 'xyxy'? Formats: xywh, xyxy, cxcywh, " in str(caught.value)


@pytest.mark.parametrize("formats", [["xyxy", "xywh"], ["xyxy"] * 4])
def test_formats_that_cannot_be_assigned_to_sources_are_refused(formats: list[str]) -> None:
    with pytest.raises(UserError, match=r"--train-boxes: is given \d times for 3 --train"):
        sources_by_split(train=["a", "b", "c"], train_boxes=formats)
    with pytest.raises(UserError, match="--val-boxes: needs --val"):
        sources_by_split(train=["a"], val_boxes=["xyxy"])


def test_a_misspelt_value_in_a_file_is_answered_with_the_similar_one() -> None:
    with pytest.raises(UserError, match=r"(?s)train.0.boxes: Input should be 'xywh', .*Did you mean 'xyxy'"):
        PrepareConfig.parse({"train": {"annotations": "a.json", "boxes": "xyxyz"}}, where="params.yaml: prepare")
