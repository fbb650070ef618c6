"""Configuration of a detector: everything that determines its parameters, losses and detections.

Defaults are those of the published Co-Deformable-DETR and Co-DINO models (Zong, Song and Liu, ICCV 2023) with a
ResNet-50 backbone. Values that no published model varies are constants in the code.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from codetr.core.bounds import (
    Cells,
    Channels,
    Count,
    Fraction,
    Layers,
    LayersOrZero,
    NonNegativeFloat,
    Pixels,
    PositiveFloat,
    SmallCount,
)
from codetr.core.settings import Settings
from codetr.models.backbones.config import BackboneConfig, ResNetConfig
from codetr.models.transformer.config import TransformerConfig

MEMORY_SETTINGS = (
    "backbone.checkpointing",
    "query.transformer.checkpointed_encoder_layers",
    "query.transformer.checkpointed_decoder_layers",
)
"""Paths of the settings for activation checkpointing, which trade time for memory and change no result."""

DetectorKind = Literal["co_deformable", "co_dino"]
Head = Literal["query", "atss", "roi"]
AuxiliaryPadding = Literal["background", "zeros"]


class NMSConfig(Settings):
    """Non-maximum suppression within each class.

    Attributes:
        method: "nms" drops overlapping boxes, "soft_nms" lowers their scores linearly (Bodla et al., ICCV 2017).
        iou_threshold: IoU from which a box is dropped or its score lowered.
        min_score: soft-NMS drops boxes whose score falls below this.
    """

    method: Literal["nms", "soft_nms"] = "nms"
    iou_threshold: Fraction
    min_score: Fraction = 1e-3


class MatchingCosts(Settings):
    """Weights of the three costs of matching queries with objects."""

    classification: NonNegativeFloat = 2.0
    l1: NonNegativeFloat = 5.0
    giou: NonNegativeFloat = 2.0


class SetLossWeights(Settings):
    """Weights of the losses of every decoder layer, the encoder's proposals and the positive queries."""

    classification: NonNegativeFloat
    l1: NonNegativeFloat = 5.0
    giou: NonNegativeFloat = 2.0


class CoDeformableHeadConfig(Settings):
    """The query head of Co-Deformable-DETR.

    Attributes:
        position_temperature: ratio of the highest to the lowest frequency of the encoder's position encoding.
        position_offset: added to one-based rows and columns before they are encoded.
        positive_query_weight: weight of the losses of the customised positive queries, relative to `loss_weights`
            (lambda 1 in Co-DETR, section 3.3).
        max_detections: most detections per image, over all queries and classes.
    """

    kind: Literal["co_deformable"] = "co_deformable"
    position_temperature: PositiveFloat = 10000.0
    position_offset: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] = -0.5
    queries: Count = 300
    transformer: TransformerConfig = TransformerConfig()
    costs: MatchingCosts = MatchingCosts()
    loss_weights: SetLossWeights = SetLossWeights(classification=2.0)
    positive_query_weight: NonNegativeFloat = 1.0
    max_detections: Count = 100


class DenoisingConfig(Settings):
    """Contrastive denoising queries (Zhang et al., "DINO", ICLR 2023, section 3.3).

    Attributes:
        queries: denoising queries per image; the number of groups follows from it and the number of objects.
        label_noise: twice the probability that a query's label is replaced by a random one.
        box_noise: largest shift of the corners of positive queries, as a fraction of half the box size.
    """

    queries: Count = 100
    label_noise: Fraction = 0.5
    box_noise: NonNegativeFloat = 1.0


class CoDINOHeadConfig(Settings):
    """The query head of Co-DINO.

    Attributes:
        position_temperature: ratio of the highest to the lowest frequency of the encoder's position encoding.
        position_offset: added to one-based rows and columns before they are encoded.
        positive_query_weight: weight of the losses of the customised positive queries, relative to `loss_weights`
            (lambda 1 in Co-DETR, section 3.3).
        nms: suppression of the final detections, None for none.
        score_threshold: detections need a score above this.
    """

    kind: Literal["co_dino"] = "co_dino"
    position_temperature: PositiveFloat = 20.0
    position_offset: Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)] = 0.0
    queries: Count = 900
    transformer: TransformerConfig = TransformerConfig()
    denoising: DenoisingConfig = DenoisingConfig()
    costs: MatchingCosts = MatchingCosts()
    loss_weights: SetLossWeights = SetLossWeights(classification=1.0)
    positive_query_weight: NonNegativeFloat = 1.0
    nms: NMSConfig | None = NMSConfig(method="soft_nms", iou_threshold=0.8)
    score_threshold: Fraction = 0.0
    max_detections: Count = 300


class ProposalConfig(Settings):
    """Selection of region proposals from the RPN's output.

    Attributes:
        candidates: anchors per level, with the highest scores, that enter suppression.
        proposals: most proposals per image.
        iou_threshold: IoU from which suppression (within each level) drops a box.
    """

    candidates: Count = 1000
    proposals: Count = 1000
    iou_threshold: Fraction = 0.7


class RPNConfig(Settings):
    """Region proposal network (Ren et al., NeurIPS 2015).

    Attributes:
        octave_base_scale: size of the smallest anchor, in strides of its level.
        scales_per_octave: anchor sizes per level, spread evenly (in log scale) over a factor of two.
        ratios: height over width of the anchors.
        positive_iou: IoU from which an anchor is foreground.
        negative_iou: IoU below which an anchor is background.
        min_positive_iou: IoU from which an object's best anchors are foreground in any case.
        samples: anchors per image that enter the losses.
        positive_fraction: upper bound of the fraction of foreground among them.
    """

    octave_base_scale: SmallCount = 4
    scales_per_octave: SmallCount = 3
    ratios: Annotated[tuple[PositiveFloat, ...], Field(min_length=1, max_length=100)] = (0.5, 1.0, 2.0)
    positive_iou: Fraction = 0.7
    negative_iou: Fraction = 0.3
    min_positive_iou: Fraction = 0.3
    samples: Count = 256
    positive_fraction: Fraction = 0.5
    classification_weight: NonNegativeFloat = 12.0
    box_weight: NonNegativeFloat = 12.0
    train_proposals: ProposalConfig = ProposalConfig(candidates=4000)
    test_proposals: ProposalConfig = ProposalConfig()


class MaskHeadConfig(Settings):
    """The mask head of Mask R-CNN (He et al., ICCV 2017), a part of the RoI head.

    Attributes:
        convs: 3×3 convolutions before the upsampling.
        pool_size: side of the pooled features in cells; masks have twice as many cells per side.
        weight: weight of the loss.
    """

    convs: LayersOrZero = 4
    pool_size: Cells = 14
    weight: NonNegativeFloat = 12.0


class RoIHeadConfig(Settings):
    """The box head of Faster R-CNN (Ren et al., NeurIPS 2015), the auxiliary head "roi".

    Attributes:
        finest_scale: RoIs smaller than twice this (square root of the area, pixels) are pooled from the finest level.
        pool_size: side of the pooled features in cells.
        shared_convs: 3×3 convolutions with group normalisation before the fully connected layers.
        shared_fcs: fully connected layers of `fc_channels` before the two predictors.
        class_agnostic: predict one box for all classes instead of one per class.
        delta_stds: scale of the encoded deltas (x, y, w, h).
        positive_iou: IoU from which a proposal is foreground; below it is background.
        samples: proposals per image that enter the losses.
        positive_fraction: upper bound of the fraction of foreground among them.
        max_auxiliary_queries: most customised positive queries per image.
        auxiliary_padding: queries of images that have fewer positive ones than another image of the batch: "background"
            are background boxes of the head, which are classified as such; "zeros" are empty boxes without a loss.
        mask: mask head for the detections of this head; None for boxes only.
    """

    finest_scale: Pixels = 112
    pool_size: Cells = 7
    shared_convs: LayersOrZero = 0
    shared_fcs: Layers = 2
    fc_channels: Channels = 1024
    class_agnostic: bool = False
    delta_stds: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = (0.1, 0.1, 0.2, 0.2)
    positive_iou: Fraction = 0.5
    samples: Count = 512
    positive_fraction: Fraction = 0.25
    classification_weight: NonNegativeFloat = 12.0
    giou_weight: NonNegativeFloat = 120.0
    max_auxiliary_queries: Count = 300
    auxiliary_padding: AuxiliaryPadding = "background"
    score_threshold: Fraction = 0.0
    nms: NMSConfig = NMSConfig(iou_threshold=0.5)
    max_detections: Count = 100
    mask: MaskHeadConfig | None = None


class ATSSHeadConfig(Settings):
    """The one-stage head of ATSS (Zhang et al., CVPR 2020), the auxiliary head "atss".

    Attributes:
        stacked_convs: 3×3 convolutions with group normalisation before the predictors, in each branch.
        octave_base_scale: side of the one square anchor, in strides of its level.
        assigner_candidates: anchors per level, nearest to an object's centre, that may become foreground.
        delta_stds: scale of the encoded deltas (x, y, w, h).
        max_auxiliary_queries: most customised positive queries per image.
        auxiliary_padding: queries of images that have fewer positive ones than another image of the batch: "background"
            are background boxes of the head, which are classified as such; "zeros" are empty boxes without a loss.
        candidates: (cell, class) pairs per level, with the highest scores, that enter suppression.
    """

    stacked_convs: Layers = 1
    octave_base_scale: SmallCount = 8
    assigner_candidates: Count = 9
    delta_stds: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = (0.1, 0.1, 0.2, 0.2)
    classification_weight: NonNegativeFloat = 12.0
    giou_weight: NonNegativeFloat = 24.0
    centerness_weight: NonNegativeFloat = 12.0
    max_auxiliary_queries: Count = 300
    auxiliary_padding: AuxiliaryPadding = "background"
    score_threshold: Fraction = 0.0
    candidates: Count = 1000
    nms: NMSConfig = NMSConfig(iou_threshold=0.6)
    max_detections: Count = 100


class InstanceHeadConfig(Settings):
    """Masks for the detections of the query head: RefineMask (Zhang et al., CVPR 2021) with Mask Scoring R-CNN
    (Huang et al., CVPR 2019).

    Attributes:
        finest_scale: regions smaller than twice this (square root of the area, pixels) are pooled from the finest map.
        pool_size: side of the pooled features in cells; the finest masks have eight times as many cells per side.
        instance_convs: 3×3 convolutions over the features of a region.
        semantic_convs: 3×3 convolutions over the finest map of the image.
        positive_iou: IoU with an object from which a detection is foreground.
        samples: most detections per image that are sampled.
        positive_fraction: upper bound of the fraction of foreground among them; only foreground is trained on.
        mask_weight: weight of the mask loss of all stages.
        stage_weights: weights of the stages within it, coarse to fine.
        iou_fc_channels: width of the layer before the predicted mask IoU.
        iou_weight: weight of the loss of the predicted mask IoU.
    """

    finest_scale: Pixels = 56
    pool_size: Cells = 14
    instance_convs: LayersOrZero = 1
    semantic_convs: LayersOrZero = 2
    positive_iou: Fraction = 0.5
    samples: Count = 512
    positive_fraction: Fraction = 0.25
    mask_weight: NonNegativeFloat = 15.96
    stage_weights: tuple[NonNegativeFloat, NonNegativeFloat, NonNegativeFloat, NonNegativeFloat] = (0.5, 0.75, 0.75, 1)
    iou_fc_channels: Channels = 1024
    iou_weight: NonNegativeFloat = 6.0


class FederatedConfig(Settings):
    """The federated loss (Zhou, Koltun and Krähenbühl, arXiv 2103.07461, appendix D), see `losses.federated`.

    Attributes:
        classes: classes in the classification loss of an image: those of its objects and, up to this number, sampled
            ones.
        power: the probability of sampling a class is proportional to its number of training images to this power.
    """

    classes: Count = 50
    power: NonNegativeFloat = 0.5


class DetectorConfig(Settings):
    """A Co-DETR detector.

    Attributes:
        num_classes: classes of the dataset; labels are 0..num_classes-1.
        channels: width of neck, transformer and dense heads; a multiple of `norm_groups` and of 4.
        norm_groups: groups of every group normalisation.
        padding_mask: exclude the padding of a batch from attention. False for models trained on one fixed canvas
            ("large-scale jitter"): there the whole canvas is the valid area.
        query: the query head, whose kind is the kind of the detector.
        rpn, roi: the Faster R-CNN auxiliary head; both or neither.
        atss: the ATSS auxiliary head, or None.
        instance: mask head for the detections of the query head; None for boxes only.
        federated: the federated loss, for datasets that are not annotated exhaustively, such as LVIS; None for all
            classes in every image.
        detect_head: head whose detections the detector returns. "query" is Co-DETR proper and the fastest; a mask
            head in the RoI head predicts masks of that head's detections only.
    """

    num_classes: Count
    backbone: BackboneConfig = ResNetConfig()
    channels: Channels = 256
    norm_groups: Channels = 32
    padding_mask: bool = True
    query: Annotated[CoDeformableHeadConfig | CoDINOHeadConfig, Field(discriminator="kind")]
    rpn: RPNConfig | None = RPNConfig()
    roi: RoIHeadConfig | None = RoIHeadConfig()
    atss: ATSSHeadConfig | None = ATSSHeadConfig()
    instance: InstanceHeadConfig | None = None
    federated: FederatedConfig | None = None
    detect_head: Head = "query"

    @model_validator(mode="after")
    def _check(self) -> Self:
        transformer = self.query.transformer
        for heads in (transformer.attention_heads, *transformer.decoder_heads):
            if self.channels % heads or self.channels % self.norm_groups or self.channels % 4:
                raise ValueError(
                    f"channels must be a multiple of norm_groups ({self.norm_groups}), of 4 and of {heads} heads"
                )
        if self.instance is not None and self.channels % 8:
            raise ValueError("channels must be a multiple of 8 with an instance head")
        if (self.rpn is None) != (self.roi is None):
            raise ValueError("rpn and roi belong together: set both or neither to null")
        if self.detect_head not in self.heads:
            raise ValueError(
                f"detect_head is '{self.detect_head}', which is not enabled; enabled heads: {', '.join(self.heads)}"
            )
        return self

    def with_classes(self, classes: int) -> Self:
        """Return the configuration of the same detector for another number of classes."""
        return self.changed([("num_classes", classes)])

    @property
    def kind(self) -> DetectorKind:
        """Family of the detector."""
        return self.query.kind

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the encoder's levels, in pixels of the input."""
        return self.backbone.pyramid_strides

    @property
    def dense_strides(self) -> tuple[int, ...]:
        """Strides of the auxiliary heads' feature maps: the encoder's levels and a coarser one."""
        return (*self.strides, self.strides[-1] * 2)

    @property
    def auxiliary_heads(self) -> tuple[str, ...]:
        """Names of the enabled auxiliary heads, in the order of their customised positive queries."""
        return tuple(name for name, head in (("roi", self.roi), ("atss", self.atss)) if head is not None)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of all heads that can detect."""
        return ("query", *self.auxiliary_heads)

    @property
    def needs_masks(self) -> bool:
        """Whether training needs the masks of objects."""
        return self.instance is not None or (self.roi is not None and self.roi.mask is not None)

    @property
    def gives_masks(self) -> bool:
        """Whether detections have masks."""
        if self.detect_head == "query":
            return self.instance is not None
        return self.detect_head == "roi" and self.roi is not None and self.roi.mask is not None
