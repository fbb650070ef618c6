"""The order of keys in the official implementation, which differs from ours.

Reading a state dict by key does not depend on it. Optimisers, which number parameters, do, and so does a comparison of
two files line by line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from torch import nn

# Prefixes of official keys in the official order; keys with the same prefix keep the order of our modules.
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


# Parts of a module, by the pattern of its prefix, in the official order.
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
    """Sort official keys, given in the order of our modules, in the official order."""
    first: dict[str, int] = {}

    def sort_key(position: int, name: str) -> tuple[int, int, int]:
        for pattern, parts in _PARTS:
            if match := re.match(pattern, name):
                return _rank(name, _ORDER), first.setdefault(match[0], position), _rank(name[match.end() :], parts)
        return _rank(name, _ORDER), position, 0

    sort_keys = {name: sort_key(position, name) for position, name in enumerate(names)}
    return sorted(sort_keys, key=sort_keys.__getitem__)


def _rank(name: str, order: Sequence[str]) -> int:
    # The longest prefix decides: "query_head." is that of the rest of the query head.
    return max((len(prefix), rank) for rank, prefix in enumerate((*order, "")) if name.startswith(prefix))[1]


def all_tensor_names(module: nn.Module) -> Iterator[str]:
    """Yield the names of all parameters and buffers in the order of a state dict, non-persistent buffers included."""
    for prefix, part in module.named_modules(remove_duplicate=False):
        for values in (part.named_parameters(recurse=False), part.named_buffers(recurse=False)):
            yield from (f"{prefix}.{name}" if prefix else name for name, _ in values)
