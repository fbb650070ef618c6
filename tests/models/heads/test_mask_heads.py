"""Detectors with both kinds of mask heads, for batches that real data has."""

from __future__ import annotations

import pytest
import torch

from codetr.models.config import DetectorKind, Head, InstanceHeadConfig, MaskHeadConfig
from codetr.models.detector import CoDETR, build_detector
from codetr.models.losses.normalizer import RecordingNormalizer, ReplayNormalizer
from tests.support.models.tiny_detector import KINDS, random_batch, tiny_config

INSTANCE = InstanceHeadConfig(finest_scale=28, iou_fc_channels=16, samples=32)
MASKS = ("roi.mask", "instance.mask", "instance.iou")


def build(kind: DetectorKind = "co_dino", num_classes: int = 3) -> CoDETR:
    torch.manual_seed(0)
    config = tiny_config(kind, num_classes)
    assert config.roi is not None
    roi = config.roi.model_copy(update={"mask": MaskHeadConfig(convs=1)})
    return build_detector(config.model_copy(update={"roi": roi, "instance": INSTANCE}))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("objects", "num_classes"),
    [((2, 3), 3), ((0, 0), 3), ((4, 0), 1), ((70, 1), 3)],
    ids=["usual", "no objects at all", "one class, one empty image", "more objects than queries"],
)
def test_every_batch_trains_every_parameter(kind: DetectorKind, objects: tuple[int, ...], num_classes: int) -> None:
    """Distributed training waits for the gradient of every trainable parameter, also without anything to mask."""
    detector = build(kind, num_classes).train()
    losses = detector(*random_batch(objects, num_classes))
    assert set(MASKS) <= losses.keys()
    assert all(loss.ndim == 0 and loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in detector.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


def test_mask_losses_are_divided_by_what_the_normalizer_answers() -> None:
    """The number of divisors is the same for all images, and every loss has one: accumulation replays them in order."""
    detector = build().train()
    counts = []
    for objects in ((2, 3), (0, 0)):
        recording = RecordingNormalizer()
        torch.manual_seed(1)
        alone = detector(*random_batch(objects), recording)
        doubled = ReplayNormalizer(2 * torch.stack(recording.counts).clamp(min=1), micro_batches=1)
        torch.manual_seed(1)
        halved = detector(*random_batch(objects), doubled)
        for name in MASKS:
            torch.testing.assert_close(halved[name], alone[name] / 2, rtol=1e-5, atol=1e-6, msg=name)
        counts.append(len(recording.counts))
    assert counts[0] == counts[1]


def test_masks_are_learned_under_bfloat16_autocast() -> None:
    detector, (batch, targets) = build().train(), random_batch((2, 3))
    torch.manual_seed(1)
    exact = detector(batch, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(1)
        losses = detector(batch, targets)
    for name in MASKS:
        assert losses[name].dtype == torch.float32
        assert losses[name].item() == pytest.approx(exact[name].item(), rel=0.2)


@pytest.mark.parametrize("head", ["query", "roi"])
def test_detections_have_masks_of_the_original_image(head: Head) -> None:
    detector, (batch, _) = build().eval(), random_batch((1, 1))
    for detections, size in zip(detector.detect(batch, head), batch.original_sizes, strict=True):
        assert detections.masks is not None
        masks = detections.masks.pasted()
        assert masks.shape == (len(detections), *size)
        assert masks.any()
        for mask, (left, top, right, bottom) in zip(masks, detections.boxes.tolist(), strict=True):
            rows, columns = mask.nonzero(as_tuple=True)
            assert ((rows + 1 > top) & (rows < bottom) & (columns + 1 > left) & (columns < right)).all()
        if head == "query":
            assert detections.mask_scores is not None
            assert (detections.mask_scores <= detections.scores).all()


def test_the_atss_head_gives_no_masks() -> None:
    detector, (batch, _) = build().eval(), random_batch((1, 1))
    assert all(detections.masks is None for detections in detector.detect(batch, "atss"))


def test_both_kinds_of_masks_are_learned() -> None:
    """A dozen steps on two images; losses without gradient, or with inconsistent targets, would not decrease."""
    detector = build().train()
    batch, targets = random_batch((2, 3))
    optimizer = torch.optim.AdamW((p for p in detector.parameters() if p.requires_grad), lr=2e-3)
    history = []
    for step in range(12):
        torch.manual_seed(step)
        losses = detector(batch, targets)
        history.append({name: losses[name].item() for name in MASKS})
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 1.0)
        optimizer.step()
    for name in ("roi.mask", "instance.mask"):
        assert history[-1][name] < 0.85 * history[0][name], history
