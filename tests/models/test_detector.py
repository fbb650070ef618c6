"""The whole detector in situations that real data has: what must hold for every kind and every batch."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from codetr.core.errors import UserError
from codetr.models.config import DetectorKind, Head
from codetr.models.detector import CoDETR, build_detector
from codetr.models.losses.normalizer import Normalizer, RecordingNormalizer, ReplayNormalizer
from codetr.models.structures import Detections
from codetr.models.transformer.layers import DecoderLayer, EncoderLayer
from tests.support.models.tiny_detector import KINDS, random_batch, tiny_config


def build(kind: DetectorKind, num_classes: int = 3, **changes: object) -> CoDETR:
    torch.manual_seed(0)
    return build_detector(tiny_config(kind, num_classes, **changes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("objects", "num_classes"),
    [((2, 3), 3), ((0, 0), 3), ((4, 0), 1), ((70, 1), 3), ((1,), 80)],
    ids=["usual", "no objects at all", "one class, one empty image", "more objects than queries", "many classes"],
)
def test_every_batch_trains_every_parameter(kind: DetectorKind, objects: tuple[int, ...], num_classes: int) -> None:
    """Distributed training waits for the gradient of every trainable parameter, in every step."""
    detector = build(kind, num_classes).train()
    losses = detector(*random_batch(objects, num_classes))
    assert all(loss.ndim == 0 and loss.isfinite() for loss in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    trainable = {name: parameter for name, parameter in detector.named_parameters() if parameter.requires_grad}
    gradients = {name: parameter.grad for name, parameter in trainable.items()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []


@pytest.mark.parametrize("kind", KINDS)
def test_names_of_losses_and_the_order_of_divisors_do_not_depend_on_the_data(kind: DetectorKind) -> None:
    """Accumulation replays recorded counts by position."""
    detector = build(kind).train()
    names, counts = [], []
    for objects in ((2, 3), (0, 0), (70, 1)):
        normalizer = RecordingNormalizer()
        names.append(sorted(detector(*random_batch(objects), normalizer)))
        counts.append(len(normalizer.counts))
    assert names[0] == names[1] == names[2]
    assert counts[0] == counts[1] == counts[2]


@pytest.mark.parametrize("kind", KINDS)
def test_every_loss_is_divided_by_what_the_normalizer_answers(kind: DetectorKind) -> None:
    """A loss without the normalizer's divisor would have a wrong weight under accumulation or in several processes."""
    detector = build(kind).train()
    batch, targets = random_batch((2, 3))

    def losses(normalizer: Normalizer) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        return detector(batch, targets, normalizer)

    recording = RecordingNormalizer()
    alone = losses(recording)
    doubled = losses(ReplayNormalizer(2 * torch.stack(recording.counts).clamp(min=1), micro_batches=1))
    for name, loss in doubled.items():
        torch.testing.assert_close(loss, alone[name] / 2, rtol=1e-5, atol=1e-6, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_repeats_exactly_from_the_same_random_state(kind: DetectorKind) -> None:
    detector = build(kind).train()
    runs = []
    for _ in range(2):
        torch.manual_seed(7)
        runs.append(torch.stack(list(detector(*random_batch((2, 3))).values())))
    assert torch.equal(*runs)


@pytest.mark.parametrize("kind", KINDS)
def test_auxiliary_heads_do_not_run_for_the_query_head(kind: DetectorKind) -> None:
    detector, (batch, _) = build(kind).eval(), random_batch((1, 1))
    names = ("downsample", "rpn_head", "roi_head", "atss_head", "query_head.auxiliary.roi", "query_head.auxiliary.atss")
    ran: list[str] = []
    for name in names:
        detector.get_submodule(name).register_forward_hook(lambda *_, name=name: ran.append(name))
    detector(batch)
    assert ran == []
    detector.detect(batch, "roi")
    assert set(ran) == {"downsample", "rpn_head", "roi_head"}


@pytest.mark.parametrize("kind", KINDS)
def test_switching_auxiliary_heads_off(kind: DetectorKind) -> None:
    """The detector without them has fewer parameters, the same detections, and only the query head's losses."""
    whole, plain = build(kind).eval(), build(kind, rpn=None, roi=None, atss=None).eval()
    kept = plain.state_dict().keys()
    plain.load_state_dict({name: value for name, value in whole.state_dict().items() if name in kept})
    assert not any(name.startswith(("rpn", "roi", "atss", "downsample", "query_head.auxiliary")) for name in kept)
    batch, targets = random_batch((2, 1))
    for actual, expected in zip(plain(batch), whole(batch), strict=True):
        assert torch.equal(actual.boxes, expected.boxes)
        assert torch.equal(actual.scores, expected.scores)
    losses = plain.train()(batch, targets)
    assert {name.split(".")[0].rstrip("0123456789") for name in losses} <= {"encoder", "decoder", "dn"}
    torch.stack(list(losses.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in plain.parameters() if parameter.requires_grad)


@pytest.mark.parametrize("kind", KINDS)
def test_one_auxiliary_head_alone(kind: DetectorKind) -> None:
    detector = build(kind, rpn=None, roi=None).train()
    losses = detector(*random_batch((2, 1)))
    assert {"atss.cls", "atss_queries.decoder1.giou"} <= losses.keys()
    assert not any(name.startswith("r") for name in losses)


def test_asking_for_a_head_that_is_not_there() -> None:
    detector = build("co_dino", rpn=None, roi=None).eval()
    with pytest.raises(UserError, match=r"no head 'roi'.*query, atss"):
        detector.detect(random_batch((1,))[0], "roi")


def check(detections: Detections, size: tuple[int, int], limit: int) -> None:
    height, width = size
    assert 0 < len(detections) <= limit
    assert (detections.scores.diff() <= 0).all()
    assert (detections.boxes[:, :2] >= 0).all()
    assert (detections.boxes[:, 2:] <= torch.tensor([width, height]) + 1e-3).all()
    assert (detections.boxes[:, 2:] >= detections.boxes[:, :2]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("head", ["query", "atss", "roi"])
def test_detections_lie_in_the_original_image(kind: DetectorKind, head: Head) -> None:
    detector, (batch, _) = build(kind).eval(), random_batch((1, 1))
    for detections, size in zip(detector.detect(batch, head), batch.original_sizes, strict=True):
        check(detections, size, limit=100)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_smaller_than_the_queries_need(kind: DetectorKind) -> None:
    """A tiny image has fewer tokens than the detector has queries."""
    detector, (batch, targets) = build(kind), random_batch((1,), canvas=(16, 16))
    assert all(loss.isfinite() for loss in detector.train()(batch, targets).values())
    assert len(detector.eval()(batch)[0]) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_without_a_padding_mask_the_canvas_counts_as_the_image(kind: DetectorKind) -> None:
    batch, _ = random_batch((1, 1))
    masked, unmasked = build(kind).eval(), build(kind, padding_mask=False).eval()
    unmasked.load_state_dict(masked.state_dict())
    whole = replace(batch, image_sizes=[batch.canvas_size] * 2)
    for actual, expected in zip(unmasked(batch), masked(whole), strict=True):
        assert torch.equal(actual.boxes, expected.boxes)
    assert not torch.equal(unmasked(batch)[1].boxes, masked(batch)[1].boxes)


@pytest.mark.parametrize("kind", KINDS)
def test_losses_stay_float32_under_bfloat16_autocast(kind: DetectorKind) -> None:
    detector, (batch, targets) = build(kind).train(), random_batch((2, 3))
    torch.manual_seed(1)
    exact = torch.stack(list(detector(batch, targets).values())).sum()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.manual_seed(1)
        losses = detector(batch, targets)
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    assert torch.stack(list(losses.values())).sum().item() == pytest.approx(exact.item(), rel=0.1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "part",
    [
        ("backbone.checkpointing", True),
        ("query.transformer.checkpointed_encoder_layers", 2),
        ("query.transformer.checkpointed_decoder_layers", 2),
    ],
    ids=["backbone", "encoder", "decoder"],
)
def test_checkpointing_a_part_keeps_less_and_changes_no_gradient(kind: DetectorKind, part: tuple[str, object]) -> None:
    gradients, kept = [], []
    for changes in ([], [part]):
        torch.manual_seed(0)
        detector = build_detector(tiny_config(kind).changed(changes)).train()
        sizes: list[int] = []

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel())
            return tensor

        torch.manual_seed(1)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            total = torch.stack(list(detector(*random_batch((2, 3))).values())).sum()
        total.backward()
        gradients.append({name: p.grad for name, p in detector.named_parameters() if p.grad is not None})
        kept.append(sum(sizes))
    assert kept[1] < 0.95 * kept[0]
    assert gradients[1].keys() == gradients[0].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights(kind: DetectorKind) -> None:
    """Every class scores 0.01, and every box is where its query's reference is."""
    detector, (batch, _) = build(kind).eval(), random_batch((1, 1))
    predictions, _ = detector.query_head(detector.encode(batch))
    assert predictions.logits.sigmoid().mean().item() == pytest.approx(0.01, abs=0.02)
    boxes = predictions.boxes_cxcywh
    torch.testing.assert_close(boxes[1:], boxes[:1].expand_as(boxes[1:]), rtol=0, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_the_weight_of_positive_queries_scales_their_losses_and_no_other(kind: DetectorKind) -> None:
    batch, targets = random_batch((2, 3))

    def losses(weight: float) -> dict[str, torch.Tensor]:
        query = tiny_config(kind).query.changed([("positive_query_weight", weight)])
        detector = build(kind, query=query).train()
        torch.manual_seed(1)
        return detector(batch, targets)

    full, half = losses(1.0), losses(0.5)
    assert any("_queries." in name for name in full)
    for name, loss in full.items():
        torch.testing.assert_close(half[name], loss * (0.5 if "_queries." in name else 1.0), rtol=0, atol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_decoder_may_have_other_numbers_of_heads_than_the_encoder(kind: DetectorKind) -> None:
    """Published detectors have 8 everywhere; a checkpoint with others has other weights, or other results with them."""
    changes = [("transformer.self_attention_heads", 2), ("transformer.cross_attention_heads", 8)]
    detector = build(kind, query=tiny_config(kind).query.changed(changes))
    encoder, decoder = detector.encoder.layers[0], detector.query_head.decoder.layers[0]
    assert isinstance(encoder, EncoderLayer)
    assert isinstance(decoder, DecoderLayer)
    heads = (encoder.attention.heads, decoder.self_attention.num_heads, decoder.cross_attention.heads)
    assert heads == (4, 2, 8)
    batch, targets = random_batch((2, 1))
    assert all(loss.isfinite() for loss in detector.train()(batch, targets).values())
    with pytest.raises(UserError, match="5 heads"):
        tiny_config(kind).override(["query.transformer.self_attention_heads=5"])
