"""The order in which the official implementation lists its weights, which differs from ours.

Nothing that reads a state dict by name needs it. Optimisers, which number parameters, do, and so do people who compare
two files line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

# Beginnings of official names in their order there; names with the same beginning keep the order of our modules.
_ORDER = (
    "backbone.",
    "neck.",
    "query_head.transformer.level_embeds",
    "query_head.transformer.encoder.",
    "query_head.transformer.decoder.",
    "query_head.transformer.enc_output.",
    "query_head.transformer.enc_output_norm.",
    "query_head.transformer.pos_trans.",
    "query_head.transformer.pos_trans_norm.",
    "query_head.transformer.query_embed.",
    "query_head.transformer.head_pos_embed.",
    "query_head.transformer.aux_pos_trans.",
    "query_head.transformer.aux_pos_trans_norm.",
    "query_head.transformer.pos_feats_trans.",
    "query_head.transformer.pos_feats_norm.",
    "query_head.downsample.",
    "query_head.",
    "mask_head.",
    "mask_iou_head.",
    "rpn_head.",
    "roi_head.",
    "bbox_head.",
)


# Parts of a module, by what precedes them, in their order there.
_PARTS = (
    (r"query_head\.transformer\.\w+\.layers\.\d+\.", ("attentions.", "ffns.", "norms.")),
    (r"backbone\.layers\.\d+\.downsample\.", ("reduction.", "norm.")),
    (
        r"mask_head\.",
        ("instance_convs.", "semantic_convs.", "stages.0.", "stages.1.", "stages.2.", "stage_instance_logits."),
    ),
    (r"roi_head\.0\.bbox_head\.", ("fc_cls.", "fc_reg.", "shared_")),
    (r"backbone\.blocks\.\d+\.attn\.", ("q_", "v_", "q_proj.", "k_proj.", "v_proj.", "rope.", "proj.")),
)


def in_official_order(names: Iterable[str]) -> list[str]:
    """Official names, given in the order of our modules, in the order of the official ones."""
    first: dict[str, int] = {}

    def place(position: int, name: str) -> tuple[int, int, int]:
        for pattern, parts in _PARTS:
            if found := re.match(pattern, name):
                return _rank(name, _ORDER), first.setdefault(found[0], position), _rank(name[found.end() :], parts)
        return _rank(name, _ORDER), position, 0

    places = {name: place(position, name) for position, name in enumerate(names)}
    return sorted(places, key=places.__getitem__)


def _rank(name: str, order: Sequence[str]) -> int:
    # The longest beginning counts: "query_head." is that of the rest of the query head.
    return max((len(start), rank) for rank, start in enumerate((*order, "")) if name.startswith(start))[1]


def names_with_constants(module: nn.Module) -> Iterator[str]:
    """Names of all parameters and buffers in the order of a state dict, those that ours leaves out among them."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        for values in (part.named_parameters(recurse=False), part.named_buffers(recurse=False)):
            yield from (f"{prefix}.{name}" if prefix else name for name, _ in values)
