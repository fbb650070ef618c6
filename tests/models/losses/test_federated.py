"""The federated loss: which classes are drawn, and that the others have no loss and no gradient in any head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from codetr.core.errors import UserError
from codetr.models.config import DetectorKind, FederatedConfig
from codetr.models.detector import CoDETR, build_detector
from codetr.models.losses.federated import FederatedClasses, exclude_classes
from codetr.models.losses.focal import sigmoid_focal_loss
from codetr.models.losses.quality_focal import quality_focal_loss
from codetr.models.random_draws import RandomDraws
from codetr.models.structures import Target
from tests.support.models.tiny_detector import KINDS, random_batch, tiny_config
from tests.support.training.tiny_training import PinnedDraws

COUNTS = [400, 100, 25, 9, 1, 0]


def drawn(
    classes: int, labels: Sequence[Sequence[int]], *, power: float = 0.5, counts: Sequence[int] = COUNTS
) -> Tensor:
    """(images, classes) of images with these labels."""
    federated = FederatedClasses(FederatedConfig(classes=classes, power=power), len(counts))
    federated.images_per_class = torch.tensor(counts)
    return federated(
        [Target(torch.zeros(len(classes), 4), torch.tensor(classes, dtype=torch.int64)) for classes in labels],
        RandomDraws(),
    )


def assert_shares(found: Tensor, expected: Sequence[float]) -> None:
    """Shares of images within four standard deviations of what is expected."""
    deviation = np.sqrt(np.array(expected) * (1 - np.array(expected)) / len(found))
    np.testing.assert_allclose(found.double().mean(dim=0), expected, atol=float(4 * deviation.max()))


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_one_class_is_drawn_in_proportion_to_the_power_of_its_images(power: float) -> None:
    """Another power, or objects for images, would make rare classes negatives too often or too seldom."""
    torch.manual_seed(0)
    found = drawn(1, [[]] * 20000, power=power)
    weights = np.array([count**power if count else 0.0 for count in COUNTS])
    assert (found.sum(dim=1) == 1).all()
    assert_shares(found, weights / weights.sum())


def test_several_classes_are_drawn_without_replacement_one_after_the_other() -> None:
    """Absent classes are drawn without replacement by their weights; classes in the image are not drawn."""
    torch.manual_seed(1)
    found = drawn(3, [[0, 0]] * 20000)
    chance = np.sqrt([100, 25, 9, 1])
    chance /= chance.sum()
    second = [sum(chance[j] * chance[i] / (1 - chance[j]) for j in range(4) if j != i) for i in range(4)]
    assert (found.sum(dim=1) == 3).all()
    assert_shares(found, [1.0, *(chance + second), 0.0])


def test_classes_of_an_images_objects_are_always_included() -> None:
    """Classes of an image's objects are included beyond the size of the sample, and without training images too."""
    torch.manual_seed(2)
    labels = [[5], [4, 5, 4], [0, 1, 2, 3], [0, 1, 2, 3, 4, 5], []]
    for _ in range(20):
        found = drawn(3, labels)
        assert all(found[image, classes].all() for image, classes in enumerate(labels))
        assert found.sum(dim=1).tolist() == [3, 3, 4, 6, 3]


def test_asking_for_more_classes_than_there_are_leaves_out_those_without_images() -> None:
    assert drawn(50, [[], [5]]).tolist() == [[True] * 5 + [False], [True] * 6]


def test_images_of_a_batch_draw_for_themselves_and_seeds_repeat_it() -> None:
    """With one draw for a batch the result would depend on how images are put into batches and processes."""
    torch.manual_seed(3)
    first, second = drawn(2, [[]] * 50), drawn(2, [[]] * 50)
    assert len(first.unique(dim=0)) > 1
    assert not torch.equal(first, second)
    torch.manual_seed(3)
    assert torch.equal(first, drawn(2, [[]] * 50))


@pytest.mark.parametrize("loss", ["focal", "quality"])
def test_the_loss_is_that_of_the_classes_that_count(loss: str) -> None:
    """Computed on their columns alone; and what is left out has a gradient of exactly zero, whatever its logit."""
    generator = torch.Generator().manual_seed(0)
    logits = (5 * torch.randn(1, 9, 6, generator=generator)).requires_grad_()
    labels = torch.tensor([1, 6, 3, 6, 4, 6, 1, 1, 6])
    qualities = torch.rand(9, generator=generator)
    columns = torch.tensor([1, 3, 4])
    class_mask = torch.zeros(1, 6, dtype=torch.bool)
    class_mask[0, columns] = True

    def value(of: Tensor, targets: Tensor) -> Tensor:
        if loss == "focal":
            return sigmoid_focal_loss(of, targets, None, 4.0)
        return quality_focal_loss(of, targets, qualities, None, 4.0)

    found = value(exclude_classes(logits, class_mask)[0], labels)
    (gradient,) = torch.autograd.grad(found, logits)
    expected = value(logits[0, :, columns], torch.tensor([0, 3, 1, 3, 2, 3, 0, 0, 3]))
    (expected_gradient,) = torch.autograd.grad(expected, logits)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    assert (gradient[..., [0, 2, 5]] == 0).all()
    assert (gradient[..., columns] != 0).any(dim=(0, 1)).all()


CLASSES = 7
LABELS = [[0, 0, 3], [], [5]]


def federated_detector(kind: DetectorKind, classes: int = 3) -> CoDETR:
    torch.manual_seed(0)
    detector = build_detector(tiny_config(kind, CLASSES, federated=FederatedConfig(classes=classes))).train()
    assert detector.federated is not None
    detector.federated.images_per_class = torch.tensor([50, 40, 30, 20, 10, 5, 1])
    return detector


@pytest.mark.parametrize("bf16", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_head_learns_of_classes_that_are_left_out(kind: DetectorKind, bf16: bool) -> None:
    """Every classifier, also under autocast; except the RoI head's softmax and Co-Deformable-DETR's proposals."""
    detector = federated_detector(kind)
    batch, targets = random_batch([len(classes) for classes in LABELS], CLASSES)
    targets = [
        Target(target.boxes, torch.tensor(classes, dtype=torch.int64))
        for target, classes in zip(targets, LABELS, strict=True)
    ]
    logits: dict[str, list[Tensor]] = {}
    class_mask: list[Tensor] = []

    def keep(name: str) -> None:
        def hook(module: nn.Module, inputs: object, output: Tensor) -> None:
            output.retain_grad()
            logits.setdefault(name, []).append(output)

        detector.get_submodule(name).register_forward_hook(hook)

    layers = detector.config.query.transformer.decoder_layers
    queries = [f"query_head.predictors.classifiers.{layer}" for layer in range(layers + 1)]
    for name in (*queries, "atss_head.classifier", "roi_head.classifier"):
        keep(name)
    assert detector.federated is not None
    detector.federated.register_forward_hook(lambda module, inputs, output: class_mask.append(output))
    with torch.backends.mkldnn.flags(enabled=False), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        losses = detector(batch, targets)
    assert isinstance(losses, dict)
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
    with torch.backends.mkldnn.flags(enabled=False):
        torch.stack(list(losses.values())).sum().backward()

    (classes,) = class_mask
    assert classes.sum(dim=1).tolist() == [3, 3, 3]
    decides_about_objects = queries[-1] if kind == "co_deformable" else None
    levels = len(detector.config.dense_strides)
    for name, outputs in logits.items():
        # Decoder layers run several times: for their queries, and for those of every auxiliary head.
        assert len(outputs) == {"atss_head.classifier": levels, "roi_head.classifier": 1, queries[-1]: 1}.get(name, 3)
        gradients = [output.grad for output in outputs if output.grad is not None]
        assert len(gradients) == len(outputs)
        if name == "roi_head.classifier":
            assert (gradients[0] != 0).all(), "a softmax compares a region's class with all others"
            continue
        per_image = [gradient.movedim(1, -1) if name.startswith("atss") else gradient for gradient in gradients]
        learned = torch.stack([(gradient != 0).flatten(1, -2).any(dim=1) for gradient in per_image]).any(dim=0)
        assert torch.equal(learned, torch.ones_like(classes) if name == decides_about_objects else classes), name


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_classification_changes(kind: DetectorKind) -> None:
    """Boxes, matching, divisors, the RPN and the RoI head are as without it; with all classes everything is."""
    batch, targets = random_batch([3, 0, 2], CLASSES)
    plain, some, every = federated_detector(kind), federated_detector(kind, 1), federated_detector(kind, CLASSES)
    plain.federated = None
    expected, found, same = (detector(batch, targets, draws=PinnedDraws()) for detector in (plain, some, every))
    assert {name: loss.item() for name, loss in same.items()} == {name: loss.item() for name, loss in expected.items()}
    changed = {name for name in expected if found[name].item() != expected[name].item()}
    classifications = {name for name in expected if name.endswith(".cls")} - {"rpn.cls", "roi.cls"}
    assert changed == classifications - ({"encoder.cls"} if kind == "co_deformable" else set())
    assert all(found[name] < expected[name] for name in changed), "divided by the same counts, fewer classes weigh less"


def test_frequencies_are_no_part_of_the_weights() -> None:
    """They belong to the dataset: a checkpoint or a model with them would not load without the federated loss."""
    assert (
        federated_detector("co_dino").state_dict().keys() == build_detector(tiny_config("co_dino")).state_dict().keys()
    )


def test_without_frequencies_training_is_refused() -> None:
    detector = build_detector(tiny_config("co_dino", CLASSES, federated=FederatedConfig()))
    batch, targets = random_batch([1, 1], CLASSES)
    with pytest.raises(UserError, match=r"model\.federated: .* needs the number of training images"):
        detector(batch, targets)
    assert isinstance(detector.eval()(batch), list), "to detect nothing of the kind is needed"
