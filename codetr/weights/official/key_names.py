"""Key names of the official implementation, in both directions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from codetr.models.config import DetectorConfig
from codetr.models.detector import CoDETR
from codetr.weights.foreign_file import require_finite
from codetr.weights.keys import KeyReport, non_persistent_buffers
from codetr.weights.official.detector_config import read_official_config
from codetr.weights.official.key_order import all_tensor_names, in_official_order

# Substitutions from our name to the official one; all that match are applied, in this order.
_RULES: tuple[tuple[str, str], ...] = (
    (r"^neck\.extra\.", "neck.extra_convs.0."),
    (r"^(neck\..*)\.norm\.", r"\1.gn."),
    (r"^encoder\.level_embeds$", "query_head.transformer.level_embeds"),
    (r"^encoder\.layers\.(\d+)\.attention\.", r"query_head.transformer.encoder.layers.\1.attentions.0."),
    (r"^encoder\.layers\.(\d+)\.attention_norm\.", r"query_head.transformer.encoder.layers.\1.norms.0."),
    (r"^encoder\.layers\.(\d+)\.feedforward_norm\.", r"query_head.transformer.encoder.layers.\1.norms.1."),
    (r"^encoder\.", "query_head.transformer.encoder."),
    (r"^query_head\.decoder\.", "query_head.transformer.decoder."),
    (r"\.self_attention\.", ".attentions.0.attn."),
    (r"\.cross_attention\.", ".attentions.1."),
    (r"\.self_attention_norm\.", ".norms.0."),
    (r"\.cross_attention_norm\.", ".norms.1."),
    (r"\.feedforward_norm\.", ".norms.2."),
    (r"\.feedforward\.expand\.", ".ffns.0.layers.0.0."),
    (r"\.feedforward\.contract\.", ".ffns.0.layers.1."),
    (r"\.decoder\.position_expand\.", ".decoder.ref_point_head.0."),
    (r"\.decoder\.position_contract\.", ".decoder.ref_point_head.2."),
    (r"^query_head\.proposals\.projection\.", "query_head.transformer.enc_output."),
    (r"^query_head\.proposals\.norm\.", "query_head.transformer.enc_output_norm."),
    (r"^query_head\.position\.", "query_head.transformer.pos_trans."),
    (r"^query_head\.position_norm\.", "query_head.transformer.pos_trans_norm."),
    (r"^query_head\.auxiliary_offsets$", "query_head.transformer.head_pos_embed.weight"),
    (r"^query_head\.auxiliary\.(\w+)\.(?:content|position)\.", r"query_head.transformer.aux_pos_trans.\1."),
    (r"^query_head\.auxiliary\.(\w+)\.(?:content|position)_norm\.", r"query_head.transformer.aux_pos_trans_norm.\1."),
    (r"^query_head\.auxiliary\.(\w+)\.feature\.", r"query_head.transformer.pos_feats_trans.\1."),
    (r"^query_head\.auxiliary\.(\w+)\.feature_norm\.", r"query_head.transformer.pos_feats_norm.\1."),
    (r"^query_head\.predictors\.classifiers\.", "query_head.cls_branches."),
    (r"^query_head\.predictors\.boxes\.", "query_head.reg_branches."),
    (r"^downsample\.", "query_head.downsample."),
    (r"^rpn_head\.conv\.", "rpn_head.rpn_conv."),
    (r"^rpn_head\.objectness\.", "rpn_head.rpn_cls."),
    (r"^rpn_head\.deltas\.", "rpn_head.rpn_reg."),
    (r"^roi_head\.convs\.(\d+)\.norm\.", r"roi_head.0.bbox_head.shared_convs.\1.gn."),
    (r"^roi_head\.convs\.", "roi_head.0.bbox_head.shared_convs."),
    (r"^roi_head\.fcs\.", "roi_head.0.bbox_head.shared_fcs."),
    (r"^roi_head\.classifier\.", "roi_head.0.bbox_head.fc_cls."),
    (r"^roi_head\.deltas\.", "roi_head.0.bbox_head.fc_reg."),
    (r"^roi_head\.mask\.convs\.(\d+)\.", r"roi_head.0.mask_head.convs.\1.conv."),
    (r"^roi_head\.mask\.upsample\.", "roi_head.0.mask_head.upsample."),
    (r"^roi_head\.mask\.logits\.", "roi_head.0.mask_head.conv_logits."),
    (r"^instance_head\.(.*)\.norm\.", r"instance_head.\1.norm_layer."),
    (r"^instance_head\.mask\.semantic\.(\d+)\.", r"mask_head.stages.\1.semantic_transform_in."),
    (r"^instance_head\.mask\.(stages\.\d+)\.fuse\.", r"mask_head.\1.fuse_conv.0."),
    (r"^instance_head\.mask\.(stages\.\d+)\.dilated\.0\.", r"mask_head.\1.fuse_conv.1.dilation_conv_1.conv."),
    (r"^instance_head\.mask\.(stages\.\d+)\.dilated\.1\.", r"mask_head.\1.fuse_conv.1.dilation_conv_2.conv."),
    (r"^instance_head\.mask\.(stages\.\d+)\.dilated\.2\.", r"mask_head.\1.fuse_conv.1.dilation_conv_3.conv."),
    (r"^instance_head\.mask\.(stages\.\d+)\.merge\.", r"mask_head.\1.fuse_conv.1.merge_conv.conv."),
    (r"^instance_head\.mask\.(stages\.\d+)\.contract\.", r"mask_head.\1.fuse_transform_out."),
    (r"^instance_head\.mask\.logits\.", "mask_head.stage_instance_logits."),
    (r"^instance_head\.mask\.", "mask_head."),
    (r"^instance_head\.iou\.fc\.", "mask_iou_head.fcs.0."),
    (r"^instance_head\.iou\.predictor\.", "mask_iou_head.fc_mask_iou."),
    (r"^instance_head\.iou\.", "mask_iou_head."),
    (r"^atss_head\.(\w+)_convs\.(\d+)\.norm\.", r"atss_head.\1_convs.\2.gn."),
    (r"^atss_head\.class_convs\.", "bbox_head.0.cls_convs."),
    (r"^atss_head\.box_convs\.", "bbox_head.0.reg_convs."),
    (r"^atss_head\.classifier\.", "bbox_head.0.atss_cls."),
    (r"^atss_head\.deltas\.", "bbox_head.0.atss_reg."),
    (r"^atss_head\.centerness\.", "bbox_head.0.atss_centerness."),
    (r"^atss_head\.scales\.(\d+)$", r"bbox_head.0.scales.\1.scale"),
)


def from_official(config: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> CoDETR:
    """Build the detector of an official configuration with official weights.

    Args:
        config: `model` of an official configuration, as nested plain dicts and lists.
        state_dict: weights under official names, of any floating-point dtype.

    Raises:
        UserError: the configuration has parts that this package does not support, or weights are missing, unexpected
            or have another shape; all of them are listed.
    """
    detector = CoDETR(read_official_config(config))
    load_official(detector, state_dict)
    return detector


def load_official(detector: CoDETR, state_dict: Mapping[str, Tensor]) -> None:
    """Load weights under official names into a detector, in place.

    Raises:
        UserError: see `renamed_weights`; the detector is unchanged then.
    """
    detector.load_state_dict(renamed_weights(detector, state_dict))


def renamed_weights(
    detector: CoDETR, state_dict: Mapping[str, Tensor], *, where: str = "official weights"
) -> dict[str, Tensor]:
    """Convert weights under official names to a state dict of the detector, which may be on PyTorch's meta device.

    Non-persistent buffers, which official files contain, may be missing; if present they must have the right shape, and
    are dropped. Tensors of the detector's dtype are shared, not copied.

    Args:
        detector: the detector that the weights belong to.
        state_dict: weights under official names.
        where: source of the weights, for messages.

    Raises:
        UserError: weights are missing, unexpected or have another shape (all of them are listed), or are not numbers.
    """
    OfficialKeys.of(detector).compare(state_dict).require_match(where)
    weights = {
        name: state_dict[official_name(name, detector.config)].to(value.dtype)
        for name, value in detector.state_dict().items()
    }
    require_finite(weights, where)
    return weights


@dataclass(frozen=True)
class OfficialKeys:
    """The tensors of official weights of one detector, by official name.

    Attributes:
        required: parameters and persistent buffers.
        optional: non-persistent buffers, which may be missing.
    """

    required: dict[str, Tensor]
    optional: dict[str, Tensor]

    @classmethod
    def of(cls, detector: CoDETR) -> Self:
        """Return the tensors of a detector."""
        config = detector.config
        return cls(
            {official_name(name, config): value for name, value in detector.state_dict().items()},
            {official_name(name, config): value for name, value in non_persistent_buffers(detector).items()},
        )

    def compare(self, weights: Mapping[str, Tensor]) -> KeyReport:
        """Compare weights under official names with these, by key and shape."""
        optional = {name: value for name, value in self.optional.items() if name in weights}
        return KeyReport.compare(self.required | optional, weights)


def to_official(detector: CoDETR) -> dict[str, Tensor]:
    """Return the detector's weights and buffers under official names, in the official order.

    Tensors are shared, not copied.
    """
    values = detector.state_dict() | non_persistent_buffers(detector)
    names = {official_name(name, detector.config): name for name in all_tensor_names(detector)}
    return {name: values[names[name]] for name in in_official_order(names)}


def official_name(name: str, config: DetectorConfig) -> str:
    """Return the official name of the parameter or buffer `name` of a detector with this configuration."""
    if name == "query_head.query_embedding.weight" and config.kind == "co_dino":
        return "query_head.transformer.query_embed.weight"
    for pattern, replacement in _RULES:
        name = re.sub(pattern, replacement, name)
    # The official code numbers auxiliary heads.
    for index, head in enumerate(config.auxiliary_heads):
        name = re.sub(rf"^(query_head\.transformer\.(?:aux_pos|pos_feats)_\w+)\.{head}\.", rf"\1.{index}.", name)
    return name
