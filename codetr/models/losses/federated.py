"""The federated loss (Zhou, Koltun and Krähenbühl, "Probabilistic two-stage detection", arXiv 2103.07461, appendix D).

A federated dataset such as LVIS says of every image only for some classes where their objects are. If whatever is not
annotated counted as background, rare classes would mostly be learned not to be there. So the classification of an
image counts those classes only that it has objects of and some others, drawn anew at every step; the rest have neither
a loss nor a gradient there.

The paper draws for every training image, and so do we: then what an image contributes does not depend on the images it
shares a batch, a micro-batch or a process with. (The authors' code, CenterNet2, draws for all images of a process.)
Losses are divided by the same counts as without it, as there and in Detic's Deformable DETR: no divisor counts classes.

It is for losses that decide about every class by itself. A softmax cannot leave classes out without changing what the
others learn, which is why CenterNet2 goes over to sigmoids and detectron2 refuses the combination. Hence what the RoI
head learns, with the softmax of the published models, is untouched.
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
    """Draws the classes that count.

    Args:
        config: how many, and how much more likely frequent ones are.
        num_classes: classes without background.
    """

    images_per_class: Tensor | None
    """(classes,) on how many training images every class is: a property of the data, never part of the weights."""

    def __init__(self, config: FederatedConfig, num_classes: int) -> None:
        super().__init__()
        self.config, self.num_classes = config, num_classes
        self.register_buffer("images_per_class", None, persistent=False)

    @torch.no_grad()
    def forward(self, targets: Sequence[Target], draws: RandomDraws) -> Tensor:
        """(images, classes) bool, which classes count in the classification of every image.

        Args:
            targets: ground truth of every image; the classes in it count in any case.
            draws: source of randomness.

        Raises:
            UserError: `images_per_class` is not set.
        """
        if self.images_per_class is None:
            raise UserError(
                "the federated loss does not know how frequent the classes are",
                where="model.federated",
                hint="`codetr train` counts them; in a program of your own set detector.federated.images_per_class.",
            )
        device = self.images_per_class.device
        present = torch.zeros(len(targets), self.num_classes, dtype=torch.bool, device=device)
        for row, target in zip(present, targets, strict=True):
            row[target.labels] = True
        known = self.images_per_class > 0
        rates = torch.where(known, self.images_per_class.float() ** self.config.power, 0.0)
        # The first to arrive, with these rates, are a weighted sample without replacement (Efraimidis and Spirakis,
        # 2006), for all images at once. A class on no image never arrives.
        arrivals = draws.exponential(len(targets), self.num_classes, device) / rates
        first = arrivals.masked_fill(present, -1.0).topk(min(self.config.classes, self.num_classes), largest=False)
        return present.scatter(1, first.indices, first.values.isfinite()) | present


def exclude_classes(logits: Tensor, class_mask: Tensor | None) -> Tensor:
    """Logits of which those of classes that do not count are so low that sigmoid losses and their gradients are zero.

    Args:
        logits: (images, items, classes) float32.
        class_mask: (images, classes) bool, from `FederatedClasses`; None for all.
    """
    if class_mask is None:
        return logits
    # Infinity would become NaN where it is multiplied by zero.
    return logits.masked_fill(~class_mask[:, None], torch.finfo(logits.dtype).min)
