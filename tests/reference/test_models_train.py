"""One training step of whole detectors against the official implementation: assignments, losses, gradients."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codetr.models.assignment.hungarian import match_predictions
from codetr.models.config import CoDINOHeadConfig
from codetr.models.detector import CoDETR
from codetr.models.heads.query.denoising import DenoisingQueries
from codetr.models.heads.query.positive_queries import PositiveQueries
from codetr.models.structures import ImageBatch, Target
from codetr.models.transformer.positions import inverse_sigmoid
from codetr.models.transformer.prediction_heads import QueryPredictions
from codetr.weights.official.key_names import official_name
from tests.reference.golden_case import GoldenCase, RecordedDraws, close

CONFIGS = {"train": "config", "train_det": "config_train_det"}
"""Run and its configuration; the second samples everything and adds no noise."""


class Recorder:
    """Keeps the answers of a dense head's assigner and sampler, image by image."""

    def __init__(self, head: Any) -> None:
        self.assigned: list[Tensor] = []
        self.candidates: list[Tensor] = []
        self.sampled: list[tuple[Tensor, Tensor]] = []
        assign = head.assign

        def recording_assign(*arguments: Any) -> Tensor:
            self.assigned.append(assign(*arguments))
            return self.assigned[-1]

        head.assign = recording_assign
        if hasattr(head, "sample"):
            sample = head.sample

            def recording_sample(assigned: Tensor, permute: Any) -> tuple[Tensor, Tensor]:
                self.candidates.append(assigned)
                self.sampled.append(sample(assigned, permute))
                return self.sampled[-1]

            head.sample = recording_sample


@dataclass
class Trained:
    """A detector after one backward pass, what its modules saw, and the official numbers."""

    detector: CoDETR
    batch: ImageBatch
    targets: list[Target]
    losses: dict[str, Tensor]
    recorded: dict[str, Any]
    dense: dict[str, Recorder]
    arrays: dict[str, Tensor]
    numbers: dict[str, Any]


@pytest.fixture(scope="session", params=CONFIGS)
def trained(request: pytest.FixtureRequest, golden: Path, case_name: str) -> Trained:
    case = GoldenCase(golden / "models" / case_name)
    detector, batch, targets = case.detector(CONFIGS[request.param]).train(), case.batch(), case.targets()
    arrays, recorded = case.arrays(request.param), {}
    config = detector.config.query
    noise = config.denoising.label_noise if isinstance(config, CoDINOHeadConfig) else 0.0

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            recorded[name], recorded[f"{name}.inputs"] = output, inputs

        return hook

    auxiliary = [f"query_head.auxiliary.{name}" for name in detector.config.auxiliary_heads]
    heads = ["rpn", "roi", "atss"] + ["instance"] * (detector.instance_head is not None)
    recorders = {name: Recorder(detector.get_submodule(f"{name}_head")) for name in heads}
    for name in ("query_head", "query_head.proposals", *auxiliary):
        detector.get_submodule(name).register_forward_hook(keep(name))
    losses = detector(batch, targets, draws=RecordedDraws(arrays, noise))
    torch.stack(list(losses.values())).sum().backward()
    return Trained(detector, batch, targets, losses, recorded, recorders, arrays, case.json(request.param))


def official_losses(trained: Trained) -> dict[str, str]:
    """Our name of every loss and the official one."""
    layers = trained.detector.config.query.transformer.decoder_layers
    names = {f"encoder.{part}": f"enc_loss_{official}" for part, official in PARTS.items()}
    sources = {
        "decoder": ("", ""),
        "dn": ("dn_", ""),
        "roi_queries.decoder": ("", "_aux0"),
        "atss_queries.decoder": ("", "_aux1"),
    }
    for source, (before, after) in sources.items():
        for layer in range(layers):
            prefix = f"d{layer}." if layer < layers - 1 else ""
            for part, official in PARTS.items():
                names[f"{source}{layer}.{part}"] = f"{prefix}{before}loss_{official}{after}"
    return names | DENSE


PARTS = {"cls": "cls", "l1": "bbox", "giou": "iou"}
DENSE = {
    "rpn.cls": "loss_rpn_cls",
    "rpn.box": "loss_rpn_bbox",
    "roi.cls": "loss_cls0",
    "roi.giou": "loss_bbox0",
    "roi.mask": "loss_mask0",
    "instance.mask": "loss_mask",
    "instance.iou": "loss_mask_iou",
    "atss.cls": "loss_cls1",
    "atss.giou": "loss_bbox1",
    "atss.centerness": "loss_centerness1",
}


def test_every_loss(trained: Trained) -> None:
    """The same losses, no more and no fewer, each with the official value."""
    names, expected = official_losses(trained), trained.numbers["losses"]
    actual = {names[name]: loss.item() for name, loss in trained.losses.items()}
    assert sorted(actual) == sorted(name for name in expected if "loss" in name)
    wrong = {
        name: (value, np.sum(expected[name]))
        for name, value in actual.items()
        if value != pytest.approx(np.sum(expected[name]), rel=1e-4, abs=1e-6)
    }
    assert not wrong


def test_total_loss(trained: Trained) -> None:
    total = sum(loss.item() for loss in trained.losses.values())
    assert total == pytest.approx(trained.numbers["total_loss"], rel=1e-4)


def test_predictions(trained: Trained) -> None:
    """Of all decoder layers, denoising queries first."""
    predictions, _ = trained.recorded["query_head"]
    close(predictions.logits, trained.arrays["all_cls_logits"])
    close(predictions.boxes_cxcywh, trained.arrays["all_box_preds"])


def test_matching(trained: Trained) -> None:
    """Every decoder layer's queries and the encoder's proposals are matched with the same objects."""
    predictions, selected = trained.recorded["query_head"]
    dino = trained.detector.config.kind == "co_dino"
    targets = trained.targets
    if dino:
        denoising = trained.recorded["query_head.inputs"][1]
        _, predictions = predictions.split(len(denoising))
        proposed = QueryPredictions(selected.logits[None], selected.box_logits.sigmoid()[None])
        problems = [(proposed, targets), (predictions, targets)]
    else:
        proposals = trained.recorded["query_head.proposals"]
        proposed = QueryPredictions(proposals.logits[None], proposals.box_logits.sigmoid()[None])
        objects = [Target(target.boxes, torch.zeros_like(target.labels)) for target in targets]
        problems = [(predictions, targets), (proposed, objects)]
    matches = match_predictions(
        problems, trained.detector.with_valid_area(trained.batch), trained.detector.config.query.costs
    )
    answers = [image[layer] for images in matches for layer in range(len(images[0])) for image in images]
    assert f"hungarian_call{len(answers)}" not in trained.arrays
    for call, answer in enumerate(answers):
        assert torch.equal(answer + 1, trained.arrays[f"hungarian_call{call}"].long()), f"call {call}"


def same(actual: Tensor, expected: Tensor) -> bool:
    return torch.equal(actual.long(), expected.long())


def test_assignments_and_samples_of_the_rpn(trained: Trained) -> None:
    for image, (assigned, sampled) in enumerate(
        zip(trained.dense["rpn"].assigned, trained.dense["rpn"].sampled, strict=True)
    ):
        assert same(assigned, trained.arrays[f"rpn_gt_inds{image}"])
        assert same(sampled[0], trained.arrays[f"rpn_pos_inds{image}"])
        assert same(sampled[1], trained.arrays[f"rpn_neg_inds{image}"])


def test_assignments_and_samples_of_the_roi_head(trained: Trained) -> None:
    """The objects themselves come first among the candidates."""
    for image, (assigned, sampled) in enumerate(
        zip(trained.dense["roi"].candidates, trained.dense["roi"].sampled, strict=True)
    ):
        assert same(assigned, trained.arrays[f"rcnn_gt_inds{image}"])
        positives, negatives = sampled
        assert same(positives, trained.arrays[f"rcnn_pos_inds{image}"])
        assert same(negatives, trained.arrays[f"rcnn_neg_inds{image}"])
        assert same(assigned[positives] - 1, trained.arrays[f"rcnn_pos_assigned{image}"])
        assert same(positives < len(trained.targets[image]), trained.arrays[f"rcnn_pos_is_gt{image}"])


def test_assignments_and_samples_of_the_instance_head(trained: Trained) -> None:
    """Detections of the last decoder layer, denoising queries among them, after the objects themselves."""
    assert ("instance" in trained.dense) == ("inst_gt_inds0" in trained.arrays)
    if "instance" not in trained.dense:
        return
    recorder = trained.dense["instance"]
    for image, (assigned, (positives, negatives)) in enumerate(zip(recorder.candidates, recorder.sampled, strict=True)):
        assert same(assigned, trained.arrays[f"inst_gt_inds{image}"])
        assert same(positives, trained.arrays[f"inst_pos_inds{image}"])
        assert same(negatives, trained.arrays[f"inst_neg_inds{image}"])
        assert same(assigned[positives] - 1, trained.arrays[f"inst_pos_assigned{image}"])


def test_assignments_of_the_atss_head(trained: Trained) -> None:
    for image, assigned in enumerate(trained.dense["atss"].assigned):
        assert same(assigned, trained.arrays[f"atss_gt_inds{image}"])


def test_auxiliary_queries(trained: Trained) -> None:
    """Both auxiliary heads hand the same boxes, targets and features to the decoder."""
    arrays = trained.arrays
    for head, name in enumerate(trained.detector.config.auxiliary_heads):
        queries: PositiveQueries = trained.recorded[f"query_head.auxiliary.{name}.inputs"][0]
        assert torch.equal(queries.labels, arrays[f"aux{head}_labels"])
        assert torch.equal(queries.label_weights, arrays[f"aux{head}_label_weights"])
        assert torch.equal(queries.box_weights[..., None].expand(-1, -1, 4), arrays[f"aux{head}_bbox_weights"])
        close(queries.boxes_cxcywh, arrays[f"aux{head}_coords"])
        close(queries.target_boxes_cxcywh, arrays[f"aux{head}_targets"])
        close(queries.features, arrays[f"aux{head}_feats"])


def test_denoising_queries(trained: Trained) -> None:
    """Noise, labels and mask of the denoising queries; a detector without them has nothing stored."""
    arrays = trained.arrays
    if trained.detector.config.kind != "co_dino":
        assert not any(name.startswith("dn_") for name in arrays)
        return
    denoising: DenoisingQueries = trained.recorded["query_head.inputs"][1]
    assert len(denoising) == int(arrays["dn_pad_size"])
    assert denoising.groups == int(arrays["dn_num_group"])
    queries = len(arrays["dn_attn_mask"]) - len(denoising)
    assert torch.equal(denoising.attention_mask(queries), arrays["dn_attn_mask"])
    embedding = trained.detector.get_parameter("query_head.label_embedding.weight")
    content = embedding[denoising.labels.clamp(max=len(embedding) - 1)] * denoising.filled[..., None]
    close(content.detach(), arrays["dn_label_query"])
    close(inverse_sigmoid(denoising.boxes_cxcywh, 1e-3) * denoising.filled[..., None], arrays["dn_bbox_query"])


def gradients(trained: Trained) -> dict[str, Tensor | None]:
    """Gradient of every trainable parameter, by official name."""
    config = trained.detector.config
    return {
        official_name(name, config): parameter.grad
        for name, parameter in trained.detector.named_parameters()
        if parameter.requires_grad
    }


def test_gradient_norms(trained: Trained) -> None:
    """Of every trainable parameter; the same parameters are frozen, and the same get no gradient."""
    expected, actual = trained.numbers["grad_norms"], gradients(trained)
    assert sorted(actual) == sorted(expected)
    floor = 1e-4 * trained.numbers["grad_norm_total"]
    wrong = {}
    for name, gradient in actual.items():
        norm = None if gradient is None else gradient.norm().item()
        if (norm is None) != (expected[name] is None) or (
            norm is not None and norm != pytest.approx(expected[name], rel=1e-2, abs=floor)
        ):
            wrong[name] = (norm, expected[name])
    assert not wrong


def test_total_gradient_norm(trained: Trained) -> None:
    total = torch.stack([gradient.norm() for gradient in gradients(trained).values() if gradient is not None]).norm()
    assert total.item() == pytest.approx(trained.numbers["grad_norm_total"], rel=1e-3)


def test_gradients(trained: Trained) -> None:
    """Element by element, where they are stored.

    Except of sampling offsets, as a whole: a sample within rounding of a cell's border falls on either side of it, and
    bilinear interpolation has another slope there.
    """
    actual = gradients(trained)
    stored = [name for name in trained.arrays if name.startswith("grad::")]
    assert stored
    for name in stored:
        gradient = actual[name.removeprefix("grad::")]
        assert gradient is not None, name
        expected = trained.arrays[name]
        if ".sampling_offsets." in name:
            assert (gradient - expected).norm() < 1e-2 * expected.norm(), name
        else:
            close(gradient, expected, rtol=1e-2, atol=1e-3)
