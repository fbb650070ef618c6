"""Proposals of the encoder, from which the decoder's queries are selected ("two-stage", Deformable DETR, A.4)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codetr.models.layers.initialisation import xavier_init
from codetr.models.transformer.levels import EncoderOutput, FeatureLevels
from codetr.models.transformer.prediction_heads import PredictionHeads


@dataclass
class EncoderProposals:
    """Class logits and a box for every token of the memory.

    Attributes:
        logits: (batch, tokens, classes).
        box_logits: (batch, tokens, 4) logits of normalised cxcywh, +inf for tokens that propose no box.
    """

    logits: Tensor
    box_logits: Tensor

    def at_most(self, count: int) -> int:
        """Return `count`, or the number of tokens if it is smaller, as for very small images."""
        # Exported programs accept only canvases with enough tokens: the number of queries is the same for all.
        return count if torch.compiler.is_exporting() else min(count, self.logits.shape[1])

    def take(self, index: Tensor) -> EncoderProposals:
        """Return the proposals at `index` (batch, selected) int64."""
        rows = torch.arange(index.shape[0], device=index.device)[:, None]
        return EncoderProposals(self.logits[rows, index], self.box_logits[rows, index])


class ProposalHead(nn.Module):
    """Project the memory and predict a proposal for every token, with the last pair of the prediction heads."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.projection = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        xavier_init(self)

    def forward(self, encoded: EncoderOutput, predictors: PredictionHeads) -> EncoderProposals:
        """Predict the proposals of all tokens."""
        grid, usable = grid_proposals(encoded.levels)
        memory = self.norm(self.projection(encoded.memory.masked_fill(~usable[..., None], 0)))
        last = len(predictors.boxes) - 1
        return EncoderProposals(predictors.classify(last, memory), predictors.box_deltas(last, memory) + grid)


def grid_proposals(levels: FeatureLevels) -> tuple[Tensor, Tensor]:
    """Return one box per token: its centre in the valid area, and a size that doubles with every level.

    Returns:
        The boxes (batch, tokens, 4) as logits of normalised cxcywh, and (batch, tokens) bool, True for usable boxes:
        outside the padding and with all four numbers in (0.01, 0.99). Logits of the others are +inf.
    """
    proposals = []
    for index, (mask, (height, width)) in enumerate(zip(levels.padding_masks, levels.shapes, strict=True)):
        y = torch.arange(height, dtype=torch.float32, device=mask.device) + 0.5
        x = torch.arange(width, dtype=torch.float32, device=mask.device) + 0.5
        rows, columns = torch.meshgrid(y, x, indexing="ij")
        valid = torch.stack(((~mask[:, 0, :]).sum(1), (~mask[:, :, 0]).sum(1)), dim=-1)
        centres = torch.stack((columns, rows), dim=-1)[None] / valid[:, None, None]
        sizes = torch.full_like(centres, 0.05 * 2.0**index)
        proposals.append(torch.cat((centres, sizes), dim=-1).flatten(1, 2))
    boxes_cxcywh = torch.cat(proposals, dim=1)
    usable = ((boxes_cxcywh > 0.01) & (boxes_cxcywh < 0.99)).all(-1) & ~levels.padding
    return torch.log(boxes_cxcywh / (1 - boxes_cxcywh)).masked_fill(~usable[..., None], float("inf")), usable
