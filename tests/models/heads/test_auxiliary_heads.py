"""The auxiliary heads in situations a real dataset has and an example has not."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from codetr.models.config import ATSSHeadConfig, NMSConfig, ProposalConfig, RoIHeadConfig, RPNConfig
from codetr.models.heads.dense.atss import ATSSHead
from codetr.models.heads.dense.feature_maps import top_indices
from codetr.models.heads.dense.rpn import RegionProposals, RPNHead
from codetr.models.heads.query.positive_queries import PositiveQueries, sample_positive_queries
from codetr.models.heads.roi.box_head import RoIHead
from codetr.models.heads.roi.pooling import boxes_to_rois
from codetr.models.losses.normalizer import Normalizer, RecordingNormalizer
from codetr.models.structures import ImageBatch, Target

CHANNELS, CLASSES, STRIDES = 8, 3, (8, 16, 32)
CANVAS = (64, 96)


@dataclass
class Heads:
    rpn: RPNHead
    roi: RoIHead
    atss: ATSSHead

    def losses(
        self, features: list[Tensor], batch: ImageBatch, targets: list[Target], normalizer: Normalizer
    ) -> tuple[dict[str, Tensor], list[PositiveQueries]]:
        """As the detector calls them."""
        losses, proposals = self.rpn.loss(features, batch, targets, normalizer, shuffle)
        roi_losses, roi_queries = self.roi.loss(features, proposals, batch, targets, normalizer, shuffle)
        atss_losses, atss_queries = self.atss.loss(features, batch, targets, normalizer, shuffle)
        return losses | roi_losses | atss_losses, [roi_queries, atss_queries]


def shuffle(count: int, device: torch.device) -> Tensor:
    return torch.randperm(count, device=device)


@pytest.fixture
def heads() -> Heads:
    torch.manual_seed(0)
    rpn = RPNConfig(samples=32, train_proposals=ProposalConfig(candidates=50, proposals=30))
    roi = RoIHeadConfig(finest_scale=28, fc_channels=16, samples=32)
    return Heads(
        RPNHead(rpn, CHANNELS, STRIDES),
        RoIHead(roi, CLASSES, CHANNELS, STRIDES[:2], groups=4),
        ATSSHead(ATSSHeadConfig(), CLASSES, CHANNELS, STRIDES, groups=4),
    )


def feature_maps(images: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(images)
    return [
        torch.randn(images, CHANNELS, CANVAS[0] // stride, CANVAS[1] // stride, generator=generator).requires_grad_()
        for stride in STRIDES
    ]


def image_batch(*sizes: tuple[int, int]) -> ImageBatch:
    originals = [(height * 2, width * 2) for height, width in sizes]
    return ImageBatch(torch.zeros(len(sizes), 3, *CANVAS), list(sizes), list(sizes), originals)


def target(*boxes: tuple[float, float, float, float]) -> Target:
    return Target(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), torch.arange(len(boxes)) % CLASSES)


def check_trainable(losses: dict[str, Tensor], parameters: list[nn.Parameter]) -> None:
    """Every loss is a finite number and every parameter gets a finite gradient."""
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values()), losses
    sum(losses.values()).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in parameters)


@pytest.mark.parametrize(
    "targets",
    [
        [target(), target()],
        [target((10, 10, 50, 40)), target()],
        [target((3, 3, 4, 4)), target((0, 0, 90, 60))],
        [target(*[(i, i, i + 20, i + 20) for i in range(40)]), target((5, 5, 30, 30))],
    ],
    ids=["no objects", "one image without", "one pixel", "many"],
)
def test_any_number_of_objects_can_be_learnt(heads: Heads, targets: list[Target]) -> None:
    features = feature_maps(2)
    losses, queries = heads.losses(features, image_batch((64, 80), (50, 96)), targets, Normalizer())
    assert set(losses) == {
        "rpn.cls", "rpn.box", "roi.cls", "roi.giou", "atss.cls", "atss.giou", "atss.centerness"
    }  # fmt: skip
    parameters = [p for head in (heads.rpn, heads.roi, heads.atss) for p in head.parameters()]
    check_trainable(losses, parameters)
    for made in queries:
        assert made.boxes_cxcywh.shape[:2] == made.labels.shape == made.label_weights.shape
        assert made.boxes_cxcywh.shape[1] >= 9
        assert made.features.shape == (*made.labels.shape, CHANNELS)
        assert torch.equal(made.box_weights > 0, made.labels < CLASSES)
        assert ((made.boxes_cxcywh >= 0) | (made.labels == CLASSES)[..., None]).all()
    if not any(len(wanted) for wanted in targets):
        assert losses["rpn.box"] == losses["roi.giou"] == losses["atss.giou"] == 0


def test_divisors_are_asked_for_whatever_the_objects(heads: Heads) -> None:
    """Under accumulation divisors are replayed in order: one that is left out would shift all others."""
    counts = []
    for targets in ([target(), target()], [target((10, 10, 50, 40)), target((0, 0, 90, 60))]):
        recording = RecordingNormalizer()
        heads.losses(feature_maps(2), image_batch(CANVAS, CANVAS), targets, recording)
        counts.append(len(recording.counts))
    assert counts[0] == counts[1]


def test_an_image_learns_the_same_beside_another(heads: Heads) -> None:
    """Padding and neighbours must not leak into what an image is taught."""
    alone = heads.atss.targets([(8, 12), (4, 6), (2, 3)], image_batch((50, 70)), [target((10, 10, 50, 40))])
    beside = heads.atss.targets(
        [(8, 12), (4, 6), (2, 3)], image_batch(CANVAS, (50, 70)), [target(), target((10, 10, 50, 40))]
    )
    for name in ("anchors", "labels", "boxes", "weights", "foreground"):
        assert torch.equal(getattr(alone, name)[0], getattr(beside, name)[1]), name


def test_roi_head_without_proposals(heads: Heads) -> None:
    """An image of which no proposal survives and that has no object leaves nothing to pool."""
    nothing = RegionProposals(torch.zeros(0, 4), torch.zeros(0))
    features, batch = feature_maps(1), image_batch(CANVAS)
    losses, queries = heads.roi.loss(features, [nothing], batch, [target()], Normalizer(), shuffle)
    check_trainable(losses, list(heads.roi.parameters()))
    assert queries.labels.tolist() == [[CLASSES] * 9]
    assert queries.label_weights.sum() == 0
    (found,) = heads.roi.detect(features, [nothing], batch)
    assert len(found) == 0


def test_detections_lie_in_the_original_image_and_are_sorted(heads: Heads) -> None:
    features, batch = feature_maps(2), image_batch((64, 80), (50, 96))
    proposals = heads.rpn.propose(features, batch)
    for detections in (heads.roi.detect(features, proposals, batch), heads.atss.detect(features, batch)):
        for found, (height, width) in zip(detections, batch.original_sizes, strict=True):
            assert 0 < len(found) <= 100
            assert (found.boxes >= 0).all()
            assert (found.boxes[:, [0, 2]] <= width).all()
            assert (found.boxes[:, [1, 3]] <= height).all()
            assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
            assert not found.scores.requires_grad


def test_a_class_agnostic_convolutional_roi_head() -> None:
    """The box head of the largest published models: one box for all classes, convolutions first, soft-NMS."""
    config = RoIHeadConfig(
        finest_scale=28,
        fc_channels=16,
        shared_convs=2,
        shared_fcs=1,
        class_agnostic=True,
        nms=NMSConfig(method="soft_nms", iou_threshold=0.5),
    )
    head = RoIHead(config, CLASSES, CHANNELS, STRIDES, groups=4)
    features, batch = feature_maps(1), image_batch(CANVAS)
    proposals = [RegionProposals(torch.tensor([[8.0, 8, 40, 40], [50, 20, 90, 60]]), torch.ones(2))]
    logits, deltas = head(head.pool(features, boxes_to_rois([proposals[0].boxes])))
    assert logits.shape == (2, CLASSES + 1)
    assert deltas.shape == (2, 1, 4)
    losses, _ = head.loss(features, proposals, batch, [target((10, 10, 42, 38))], Normalizer(), shuffle)
    check_trainable(losses, list(head.parameters()))
    assert len(head.detect(features, proposals, batch)[0]) == 2 * CLASSES


def queries_of(labels: list[list[int]], limit: int) -> PositiveQueries:
    table = torch.tensor(labels)
    count = table.numel()
    features = torch.arange(count, dtype=torch.float32).reshape(*table.shape, 1)
    boxes = features.expand(-1, -1, 4) + torch.tensor([0.0, 0, 10, 20])
    return sample_positive_queries(
        boxes,
        table,
        boxes,
        features,
        [(100, 50)] * len(labels),
        num_classes=CLASSES,
        limit=limit,
        permute=lambda n, device: torch.arange(n, device=device).flip(0),
    )


def test_every_image_gets_as_many_queries_as_the_fullest() -> None:
    queries = queries_of([[3, 0, 3, 1] + [3] * 16, [2] * 12 + [3] * 8], limit=300)
    assert queries.labels.tolist() == [[0, 1] + [3] * 10, [2] * 12]
    assert queries.label_weights.min() == 1
    # Background is drawn by the permutation, which here runs backwards.
    assert queries.features[0, :, 0].tolist() == [1, 3, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10]
    torch.testing.assert_close(queries.boxes_cxcywh[0, 0], torch.tensor([6 / 50, 11 / 100, 10 / 50, 20 / 100]))


def test_too_much_foreground_is_drawn_from() -> None:
    queries = queries_of([[0] * 30, [3] * 30], limit=10)
    assert queries.features[0, :, 0].tolist() == list(range(29, 19, -1))
    assert queries.labels.tolist() == [[0] * 10, [3] * 10]


def test_too_few_boxes_are_made_up_by_queries_without_weight() -> None:
    queries = queries_of([[3, 1, 3]], limit=300)
    assert queries.labels.shape == (1, 9)
    assert queries.label_weights.sum() == 3
    assert queries.box_weights.sum() == 1
    assert queries.labels[0, 0] == 1
    assert (queries.labels[queries.label_weights == 0] == CLASSES).all()


def test_best_first_is_a_stable_sort() -> None:
    """Saturated scores tie by the thousand; which of them are kept must not depend on the machine."""
    torch.manual_seed(0)
    scores = (torch.rand(2000) * 20).round() / 20
    order = scores.argsort(descending=True, stable=True)
    expected = [index for index in order.tolist() if scores[index] > 0.1]
    for count in (1, 7, 500, 2000, 5000):
        assert top_indices(scores, count, 0.1).tolist() == expected[:count]
