"""Whole detectors at inference against the official implementation, from the backbone to detections of all heads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from codetr.models.detector import CoDETR
from codetr.models.heads.dense.rpn import RegionProposals
from codetr.models.heads.roi.pooling import boxes_to_rois
from codetr.models.structures import Detections, ImageBatch
from codetr.models.transformer.decoder import DecoderOutput
from codetr.models.transformer.levels import EncoderOutput
from tests.reference.golden_case import GoldenCase, check_masks, close, unpacked_masks


@dataclass
class Evaluated:
    """A detector, what it was given, what its modules put out, and what the official one's did."""

    detector: CoDETR
    batch: ImageBatch
    recorded: dict[str, Any]
    expected: dict[str, Tensor]


MODULES = ("backbone", "neck", "encoder", "query_head.proposals", "query_head.decoder", "query_head")


@pytest.fixture(scope="session")
def evaluated(golden: Path, case_name: str) -> Evaluated:
    case = GoldenCase(golden / "models" / case_name)
    detector, batch, recorded = case.detector().eval(), case.batch(), {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            recorded[name], recorded[f"{name}.inputs"] = output, inputs

        return hook

    hooks = [detector.get_submodule(name).register_forward_hook(keep(name)) for name in MODULES]
    detector.detect(batch, "query")
    for hook in hooks:
        hook.remove()
    return Evaluated(detector, batch, recorded, case.arrays("eval"))


def check_stats(actual: Tensor, expected: dict[str, Tensor], name: str) -> None:
    assert list(actual.shape) == expected[f"{name}_shape"].tolist()
    stats = torch.stack((actual.mean(), actual.std(), actual.abs().max()))
    close(stats, expected[f"{name}_stats"])
    if f"{name}_first" in expected:
        close(actual.flatten()[:64], expected[f"{name}_first"])


def test_backbone(evaluated: Evaluated) -> None:
    maps = evaluated.recorded["backbone"]
    for index, actual in enumerate(maps):
        check_stats(actual, evaluated.expected, f"backbone{index}")
    close(maps[-1], evaluated.expected["backbone_last"])


def test_neck(evaluated: Evaluated) -> None:
    for index, actual in enumerate(evaluated.recorded["neck"]):
        check_stats(actual, evaluated.expected, f"neck{index}")
        whole = evaluated.expected.get(f"neck{index}")
        if whole is not None:
            close(actual, whole)
        else:
            close(actual[:, :12], evaluated.expected[f"neck{index}_ch0to11"])


def test_encoder(evaluated: Evaluated) -> None:
    encoded: EncoderOutput = evaluated.recorded["encoder"]
    expected = evaluated.expected
    assert [list(shape) for shape in encoded.levels.shapes] == expected["spatial_shapes"].tolist()
    assert torch.equal(encoded.padding, expected["padding_mask"])
    close(encoded.levels.valid_ratios, expected["valid_ratios"])
    close(encoded.memory, expected["memory"])


def test_downsampled_level(evaluated: Evaluated) -> None:
    with torch.no_grad():
        close(evaluated.detector.dense_maps(evaluated.recorded["encoder"])[-1], evaluated.expected["feat_down"])


def test_proposals_of_the_encoder(evaluated: Evaluated) -> None:
    """Every token's logit and box where they are stored, the selected ones in order of selection elsewhere."""
    expected = evaluated.expected
    if "enc_cls_logit0" in expected:
        proposals = evaluated.recorded["query_head.proposals"]
        close(proposals.logits[..., 0], expected["enc_cls_logit0"])
        close(proposals.box_logits.sigmoid(), expected["enc_box_preds"])
    else:
        _, selected = evaluated.recorded["query_head"]
        close(selected.logits, expected["enc_topk_logits"])
        close(selected.box_logits.sigmoid(), expected["enc_topk_anchors"])


def test_initial_queries(evaluated: Evaluated) -> None:
    inputs = evaluated.recorded["query_head.decoder.inputs"]
    if "query_pos" in evaluated.expected:
        _, positions, boxes, *_ = inputs
        close(positions, evaluated.expected["query_pos"])
    else:
        _, boxes, *_ = inputs
    close(boxes, evaluated.expected["init_reference"])


def test_decoder(evaluated: Evaluated) -> None:
    decoded: DecoderOutput = evaluated.recorded["query_head.decoder"]
    close(torch.stack(decoded.hidden), evaluated.expected["dec_hidden"])
    references = [*decoded.reference_boxes, decoded.refined_boxes]
    expected = evaluated.expected["dec_references"]
    # Co-Deformable-DETR's do not begin with the initial references.
    close(torch.stack(references[-len(expected) :]), expected)


def test_predictions_of_all_layers(evaluated: Evaluated) -> None:
    predictions, _ = evaluated.recorded["query_head"]
    close(predictions.logits, evaluated.expected["all_cls_logits"])
    close(predictions.boxes_cxcywh, evaluated.expected["all_box_preds"])


def check_detections(found: list[Detections], expected: dict[str, Tensor], name: str, boxes: str) -> None:
    for image, detections in enumerate(found):
        assert detections.labels.tolist() == expected[f"{name}_labels{image}"].tolist()
        torch.testing.assert_close(detections.scores, expected[f"{name}_scores{image}"], rtol=0, atol=1e-4)
        torch.testing.assert_close(detections.boxes, expected[f"{boxes}_boxes{image}"], rtol=0, atol=1e-2)


@pytest.mark.parametrize(("head", "name"), [("query", "detr"), ("atss", "onestage"), ("roi", "twostage")])
def test_detections(evaluated: Evaluated, head: Any, name: str) -> None:
    check_detections(evaluated.detector.detect(evaluated.batch, head), evaluated.expected, name, name)


def test_detections_in_network_pixels(evaluated: Evaluated) -> None:
    """Without scaling back: the factor takes part in suppression, so this is not a mere multiple of the above."""
    batch = replace(evaluated.batch, scale_factors=[(1.0, 1.0)] * len(evaluated.batch))
    check_detections(evaluated.detector.detect(batch, "query"), evaluated.expected, "detr", "detr_norescale")


def test_masks_of_the_roi_head(evaluated: Evaluated) -> None:
    """Of every detection, in pixels of the original image; a RoI head without a mask head gives none."""
    expected = evaluated.expected
    for image, detections in enumerate(evaluated.detector.detect(evaluated.batch, "roi")):
        assert (detections.masks is None) == (f"twostage_masks{image}_packed" not in expected)
        assert detections.mask_scores is None
        if detections.masks is not None:
            check_masks(detections.masks.pasted(), unpacked_masks(expected, f"twostage_masks{image}"))


def test_masks_of_the_query_head(evaluated: Evaluated) -> None:
    """All images at once; the official masks were computed one image at a time, because they are wrong in a batch."""
    expected = evaluated.expected
    for image, detections in enumerate(evaluated.detector.detect(evaluated.batch, "query")):
        assert (detections.masks is None) == (f"inst{image}_masks_packed" not in expected)
        if detections.masks is not None and detections.mask_scores is not None:
            check_masks(detections.masks.pasted(), unpacked_masks(expected, f"inst{image}_masks"))
            torch.testing.assert_close(detections.mask_scores, expected[f"inst{image}_mask_scores"], rtol=0, atol=1e-4)


@torch.no_grad()
def test_stages_of_the_instance_head(evaluated: Evaluated) -> None:
    """Masks of every resolution before they are refined, and their expected overlaps."""
    head, expected = evaluated.detector.instance_head, evaluated.expected
    assert (head is None) == ("inst0_rois" not in expected)
    if head is None:
        return
    for image in range(len(evaluated.batch)):
        maps = [x[image : image + 1] for x in evaluated.detector.dense_maps(evaluated.recorded["encoder"])]
        labels = expected[f"inst{image}_labels"]
        regions = boxes_to_rois([expected[f"inst{image}_rois"][:, 1:]])
        pooled = head.pool(maps, regions)
        stages = head.mask(pooled, head.mask.semantic_maps(maps[0]), regions, labels)
        for stage, logits in enumerate(stages):
            stored = expected[f"inst{image}_stage{stage}_logits"][:, 0]
            close(logits[: len(stored)], stored)
        close(head.iou(pooled, stages[1]), expected[f"inst{image}_mask_iou_pred"])


@torch.no_grad()
def test_outputs_of_the_atss_head(evaluated: Evaluated) -> None:
    head = evaluated.detector.atss_head
    assert head is not None
    output = head(evaluated.detector.dense_maps(evaluated.recorded["encoder"]))
    expected = evaluated.expected
    close(torch.cat(output.logits, 1).transpose(1, 2), expected["atss_cls"])
    close(torch.cat(output.deltas, 1).transpose(1, 2), expected["atss_reg"])
    close(torch.cat(output.centerness, 1)[:, None], expected["atss_ctr"])


@torch.no_grad()
def test_outputs_of_the_rpn(evaluated: Evaluated) -> None:
    head = evaluated.detector.rpn_head
    assert head is not None
    maps, expected = evaluated.detector.dense_maps(evaluated.recorded["encoder"]), evaluated.expected
    logits, deltas = head(maps)
    anchors = head.anchors.anchors_per_cell
    close(torch.cat(logits, 1).unflatten(1, (-1, anchors)).transpose(1, 2), expected["rpn_cls"])
    close(
        torch.cat(deltas[1:], 1).unflatten(1, (-1, anchors)).flatten(2).transpose(1, 2),
        expected["rpn_reg_from_level1"],
    )
    first = deltas[0]
    close(torch.stack((first.mean(), first.std(), first.abs().max())), expected["rpn_reg_level0_stats"])
    for image, proposals in enumerate(head.propose(maps, evaluated.detector.with_valid_area(evaluated.batch))):
        torch.testing.assert_close(proposals.boxes, expected[f"proposals{image}"][:, :4], rtol=0, atol=1e-2)
        torch.testing.assert_close(proposals.scores, expected[f"proposals{image}"][:, 4], rtol=0, atol=1e-4)


@torch.no_grad()
def test_outputs_of_the_roi_head(evaluated: Evaluated) -> None:
    head, expected = evaluated.detector.roi_head, evaluated.expected
    assert head is not None
    maps = evaluated.detector.dense_maps(evaluated.recorded["encoder"])
    stored = [expected[f"proposals{image}"] for image in range(len(evaluated.batch))]
    proposals = [RegionProposals(boxes[:, :4], boxes[:, 4]) for boxes in stored]
    pooled = head.pool(maps, boxes_to_rois([proposal.boxes for proposal in proposals]))
    close(pooled[:3], expected["rcnn_roi_feat_first"])
    close(torch.stack((pooled.mean(), pooled.std())), expected["rcnn_roi_feat_stats"])
    logits, deltas = head(pooled)
    close(logits, expected["rcnn_cls"])
    close(deltas.flatten(1), expected["rcnn_reg"])
