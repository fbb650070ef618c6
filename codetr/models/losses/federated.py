"""The federated loss (Zhou, Koltun and Krähenbühl, "Probabilistic two-stage detection", arXiv 2103.07461, appendix D).

In a federated dataset such as LVIS, an image is annotated exhaustively for some classes only. If objects of the other
classes counted as background, rare classes would be trained towards absence. So the classification loss of an image
includes the classes of its objects and a random sample of the others, drawn at every step; the remaining classes have
neither a loss nor a gradient.

As in the paper, the sample is drawn for every image. The contribution of an image then does not depend on the other
images of its batch, micro-batch or process. (The authors' code, CenterNet2, draws once for all images of a process.)
Losses have the same divisors as without it, as in that code and in Detic's Deformable DETR: no divisor counts classes.

It applies to losses with an independent decision for every class. A softmax cannot exclude classes without changing the
others, which is why CenterNet2 uses sigmoids and detectron2 refuses the combination. The RoI head, which has the
softmax of the published models, is therefore trained without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codetr.core.errors import UserError
from codetr.models.config import FederatedConfig
from codetr.models.random_draws import RandomDraws
from codetr.models.structures import Target


class FederatedClasses(nn.Module):
    """Sample the classes that enter the classification loss of every image.

    Args:
        config: size of the sample, and how much more likely frequent classes are.
        num_classes: classes without background.
    """

    images_per_class: Tensor | None
    """(classes,) number of training images with the class: a property of the data, never part of the weights."""

    def __init__(self, config: FederatedConfig, num_classes: int) -> None:
        super().__init__()
        self.config, self.num_classes = config, num_classes
        self.register_buffer("images_per_class", None, persistent=False)

    @torch.no_grad()
    def forward(self, targets: Sequence[Target], draws: RandomDraws) -> Tensor:
        """Sample the class mask (images, classes) bool: True for classes that enter the loss of an image.

        Args:
            targets: ground truth of every image; the classes of its objects are always included.
            draws: source of random numbers.

        Raises:
            UserError: `images_per_class` is not set.
        """
        if self.images_per_class is None:
            raise UserError(
                "the federated loss needs the number of training images of every class",
                where="model.federated",
                hint="`codetr train` counts them; in your program set detector.federated.images_per_class.",
            )
        device = self.images_per_class.device
        present = torch.zeros(len(targets), self.num_classes, dtype=torch.bool, device=device)
        for row, target in zip(present, targets, strict=True):
            row[target.labels] = True
        has_images = self.images_per_class > 0
        rates = torch.where(has_images, self.images_per_class.float() ** self.config.power, 0.0)
        # The k smallest exponential variables with these rates are a weighted sample without replacement (Efraimidis
        # and Spirakis, 2006), for all images at once. A class without images has infinity.
        keys = draws.exponential(len(targets), self.num_classes, device) / rates
        sample = keys.masked_fill(present, -1.0).topk(min(self.config.classes, self.num_classes), largest=False)
        return present.scatter(1, sample.indices, sample.values.isfinite()) | present


def exclude_classes(logits: Tensor, class_mask: Tensor | None) -> Tensor:
    """Return logits that are so low for excluded classes that their sigmoid losses and gradients are zero.

    Args:
        logits: (images, items, classes) float32.
        class_mask: (images, classes) bool from `FederatedClasses`, False for excluded classes; None excludes none.
    """
    if class_mask is None:
        return logits
    # Infinity would become NaN where it is multiplied by zero.
    return logits.masked_fill(~class_mask[:, None], torch.finfo(logits.dtype).min)
