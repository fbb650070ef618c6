"""The auxiliary heads alone, on the official encoder's maps: what they predict, learn, propose and detect.

test_models_*.py compare the whole detector; a difference here is one of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from codetr.models.detector import CoDETR
from codetr.models.heads.dense.atss import ATSSHead
from codetr.models.heads.dense.rpn import RegionProposals, RPNHead
from codetr.models.heads.query.positive_queries import PositiveQueries
from codetr.models.heads.roi.box_head import RoIHead
from codetr.models.heads.roi.pooling import boxes_to_rois
from codetr.models.losses.normalizer import Normalizer
from codetr.models.structures import Detections, ImageBatch, Target
from tests.reference.golden_case import GoldenCase, close


@dataclass
class Case:
    """One golden model: the official encoder's maps, the heads with its weights, and the official numbers."""

    features: list[Tensor]
    batch: ImageBatch
    targets: list[Target]
    rpn: RPNHead
    roi: RoIHead
    atss: ATSSHead
    expected: dict[str, Tensor]
    trained: dict[str, Tensor]
    losses: dict[str, Any]


@pytest.fixture
def case(golden: Path, case_name: str) -> Case:
    stored = GoldenCase(golden / "models" / case_name)
    detector: CoDETR = stored.detector("config_train_det")
    expected = stored.arrays("eval")
    sizes = expected["spatial_shapes"].tolist()
    maps = expected["memory"].transpose(1, 2).split([height * width for height, width in sizes], dim=2)
    features = [x.unflatten(2, size) for x, size in zip(maps, sizes, strict=True)] + [expected["feat_down"]]
    assert detector.rpn_head is not None
    assert detector.roi_head is not None
    assert detector.atss_head is not None
    return Case(
        features,
        detector.with_valid_area(stored.batch()),
        stored.targets(),
        detector.rpn_head,
        detector.roi_head,
        detector.atss_head,
        expected,
        stored.arrays("train_det"),
        stored.json("train_det")["losses"],
    )


def first_ones(count: int, device: torch.device) -> Tensor:
    """The permutation the official numbers were made with."""
    return torch.arange(count, device=device)


def levels_last(levels: list[Tensor]) -> Tensor:
    return torch.cat(levels, dim=1)


def check_detections(case: Case, found: list[Detections], name: str) -> None:
    for image, detections in enumerate(found):
        assert detections.labels.tolist() == case.expected[f"{name}_labels{image}"].tolist()
        torch.testing.assert_close(detections.scores, case.expected[f"{name}_scores{image}"], rtol=0, atol=1e-4)
        torch.testing.assert_close(detections.boxes, case.expected[f"{name}_boxes{image}"], rtol=0, atol=1e-2)


def check_queries(case: Case, queries: PositiveQueries, head: int) -> None:
    """The same boxes, labels and features become decoder queries."""
    trained = case.trained
    assert torch.equal(queries.labels, trained[f"aux{head}_labels"])
    close(queries.boxes_cxcywh, trained[f"aux{head}_coords"])
    close(queries.target_boxes_cxcywh, trained[f"aux{head}_targets"])
    close(queries.features, trained[f"aux{head}_feats"])
    assert torch.equal(queries.label_weights, trained[f"aux{head}_label_weights"])
    assert torch.equal(queries.box_weights[..., None].expand(-1, -1, 4), trained[f"aux{head}_bbox_weights"])


def check_loss(case: Case, actual: Tensor, official: str) -> None:
    expected = np.sum(case.losses[official])
    assert actual.item() == pytest.approx(expected, rel=1e-4), official


def given_proposals(case: Case, source: dict[str, Tensor]) -> list[RegionProposals]:
    stored = [source[f"proposals{image}"] for image in range(len(case.batch))]
    return [RegionProposals(boxes[:, :4], boxes[:, 4]) for boxes in stored]


def test_rpn_predicts_and_proposes(case: Case) -> None:
    logits, deltas = case.rpn(case.features)
    anchors = case.rpn.anchors.anchors_per_cell
    close(levels_last(logits), case.expected["rpn_cls"].transpose(1, 2).flatten(1))
    expected = case.expected["rpn_reg_from_level1"].unflatten(1, (anchors, 4)).permute(0, 3, 1, 2).flatten(1, 2)
    close(levels_last(deltas[1:]), expected)
    for image, proposals in enumerate(case.rpn.propose(case.features, case.batch)):
        expected = case.expected[f"proposals{image}"]
        torch.testing.assert_close(proposals.boxes, expected[:, :4], rtol=0, atol=1e-2)
        torch.testing.assert_close(proposals.scores, expected[:, 4], rtol=0, atol=1e-4)


def test_rpn_learns(case: Case) -> None:
    losses, proposals = case.rpn.loss(case.features, case.batch, case.targets, Normalizer(), first_ones)
    check_loss(case, losses["rpn.cls"], "loss_rpn_cls")
    check_loss(case, losses["rpn.box"], "loss_rpn_bbox")
    for image, found in enumerate(proposals):
        torch.testing.assert_close(found.boxes, case.trained[f"proposals{image}"][:, :4], rtol=0, atol=1e-2)


def test_roi_head_detects(case: Case) -> None:
    proposals = given_proposals(case, case.expected)
    logits, deltas = case.roi(case.roi.pool(case.features, boxes_to_rois([found.boxes for found in proposals])))
    close(logits, case.expected["rcnn_cls"])
    close(deltas.flatten(1), case.expected["rcnn_reg"])
    check_detections(case, case.roi.detect(case.features, proposals, case.batch), "twostage")


def test_roi_head_learns(case: Case) -> None:
    proposals = given_proposals(case, case.trained)
    losses, queries = case.roi.loss(case.features, proposals, case.batch, case.targets, Normalizer(), first_ones)
    check_loss(case, losses["roi.cls"], "loss_cls0")
    check_loss(case, losses["roi.giou"], "loss_bbox0")
    assert ("roi.mask" in losses) == ("loss_mask0" in case.losses)
    if "roi.mask" in losses:
        check_loss(case, losses["roi.mask"], "loss_mask0")
    check_queries(case, queries, 0)


def test_atss_head_detects(case: Case) -> None:
    output = case.atss(case.features)
    close(levels_last(output.logits), case.expected["atss_cls"].transpose(1, 2))
    close(levels_last(output.deltas), case.expected["atss_reg"].transpose(1, 2))
    close(levels_last(output.centerness), case.expected["atss_ctr"][:, 0])
    check_detections(case, case.atss.detect(case.features, case.batch), "onestage")


def test_atss_head_learns(case: Case) -> None:
    losses, queries = case.atss.loss(case.features, case.batch, case.targets, Normalizer(), first_ones)
    check_loss(case, losses["atss.cls"], "loss_cls1")
    check_loss(case, losses["atss.giou"], "loss_bbox1")
    check_loss(case, losses["atss.centerness"], "loss_centerness1")
    check_queries(case, queries, 1)
