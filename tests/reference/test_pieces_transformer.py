"""Positions, proposals, deformable attention, matching and denoising against the official implementation's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from codetr.models.assignment.hungarian import hungarian_assignment, matching_cost
from codetr.models.boxes import cxcywh_to_xyxy
from codetr.models.config import DenoisingConfig, MatchingCosts
from codetr.models.heads.query.denoising import denoising_queries
from codetr.models.random_draws import RandomDraws
from codetr.models.structures import ImageBatch, Target
from codetr.models.transformer.attention import DeformableAttention
from codetr.models.transformer.encoder import reference_points
from codetr.models.transformer.levels import FeatureLevels
from codetr.models.transformer.positions import box_embedding, inverse_sigmoid, sine_embedding, sine_positions
from codetr.models.transformer.proposals import grid_proposals
from codetr.ops.deformable_attention import multi_scale_deformable_attention
from tests.reference.golden_case import RecordedDraws


def close(actual: Tensor, expected: Tensor, *, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol * max(1.0, float(expected.abs().max())))


def shapes_of(case: dict[str, Tensor]) -> list[tuple[int, int]]:
    return [(int(height), int(width)) for height, width in case["spatial_shapes"]]


@pytest.mark.parametrize("piece", ["inverse_sigmoid"], indirect=True)
@pytest.mark.parametrize(("eps", "key"), [(1e-5, "eps1e5"), (1e-3, "eps1e3")])
def test_inverse_sigmoid(piece: dict[str, Tensor], eps: float, key: str) -> None:
    close(inverse_sigmoid(piece["x"], eps), piece[key])


@pytest.mark.parametrize("piece", ["sine_positional_encoding"], indirect=True)
@pytest.mark.parametrize(
    ("key", "temperature", "offset"),
    [("deformable_offset_m0p5_temp10000", 10000, -0.5), ("dino_offset0_temp20", 20, 0.0)],
)
def test_sine_positions(piece: dict[str, Tensor], key: str, temperature: float, offset: float) -> None:
    positions = sine_positions(piece["mask"].bool(), piece[key].shape[1] // 2, temperature=temperature, offset=offset)
    close(positions.permute(0, 3, 1, 2), piece[key])


@pytest.mark.parametrize("piece", ["dino_gen_sineembed_for_position"], indirect=True)
def test_sine_embedding_of_boxes_in_dino_decoder(piece: dict[str, Tensor]) -> None:
    boxes = piece["pos4"]
    close(sine_embedding(boxes[..., [1, 0, 2, 3]], piece["out4"].shape[-1] // 4), piece["out4"])


@pytest.mark.parametrize("piece", ["proposal_pos_embed"], indirect=True)
def test_sine_embedding_of_proposals(piece: dict[str, Tensor]) -> None:
    close(box_embedding(piece["coords_unact"], int(piece["embed_dims"])), piece["out"])


@pytest.mark.parametrize("piece", ["encoder_reference_points_and_proposals"], indirect=True)
def test_reference_points_and_proposals(piece: dict[str, Tensor]) -> None:
    shapes = shapes_of(piece)
    parts = piece["mask_flatten"].bool().split([height * width for height, width in shapes], dim=1)
    masks = [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]
    levels = FeatureLevels(shapes, masks, piece["valid_ratios"])
    close(reference_points(levels), piece["reference_points"])
    proposals, usable = grid_proposals(levels)
    expected = piece["output_proposals_unact"]
    assert torch.equal(proposals.isinf(), expected.isinf())
    close(proposals[usable], expected[usable])
    close(piece["memory"].masked_fill(~usable[..., None], 0), piece["masked_memory_before_linear"])


@pytest.mark.parametrize("piece", ["ms_deform_attn_core"], indirect=True)
def test_deformable_attention_function(piece: dict[str, Tensor]) -> None:
    inputs = [piece[name].requires_grad_() for name in ("value", "sampling_locations", "attention_weights")]
    value, locations, weights = inputs
    output = multi_scale_deformable_attention(value, shapes_of(piece), locations, weights)
    close(output, piece["output"])
    gradients = torch.autograd.grad(output, inputs, piece["grad_output"])
    for name, gradient in zip(("value", "sampling_locations", "attention_weights"), gradients, strict=True):
        close(gradient, piece[f"grad_{name}"], rtol=1e-4)


@pytest.mark.parametrize("piece", [f"ms_deform_attn_module_{name}" for name in ("ref2d", "ref4d")], indirect=True)
def test_deformable_attention_module(piece: dict[str, Tensor]) -> None:
    shapes = shapes_of(piece)
    channels = piece["query"].shape[-1]
    heads_levels_points = piece["param::attention_weights.bias"].numel()
    heads, levels = 4, len(shapes)
    module = DeformableAttention(channels, heads, levels, heads_levels_points // heads // levels)
    module.load_state_dict({name[7:]: value for name, value in piece.items() if name.startswith("param::")})
    query, memory = piece["query"].requires_grad_(), piece["value"].requires_grad_()
    placed = (query + piece["query_pos"]).transpose(0, 1)
    padding = piece["key_padding_mask"].bool()
    output = module(placed, piece["reference_points"], memory.transpose(0, 1), shapes, padding).transpose(0, 1) + query
    close(output, piece["output"])
    named = dict(module.named_parameters())
    gradients = torch.autograd.grad(output, [query, memory, *named.values()], piece["grad_output"])
    expected = [piece["grad_query"], piece["grad_value"], *(piece[f"grad::{name}"] for name in named)]
    for gradient, target in zip(gradients, expected, strict=True):
        close(gradient, target, rtol=1e-4)


@pytest.mark.parametrize("piece", ["ms_deform_attn_init_bias"], indirect=True)
def test_initial_sampling_offsets(piece: dict[str, Tensor]) -> None:
    expected = piece["sampling_offsets_bias_h8_l5_p4"]
    close(DeformableAttention(16, heads=8, levels=5, points=4).sampling_offsets.bias, expected)


@pytest.mark.parametrize("piece", ["hungarian_assigner"], indirect=True)
def test_matching(piece: dict[str, Tensor]) -> None:
    height, width = piece["img_hw"].tolist()
    parts = {
        "cls": MatchingCosts(l1=0, giou=0),
        "reg": MatchingCosts(classification=0, giou=0),
        "iou": MatchingCosts(classification=0, l1=0),
    }
    arguments = piece["cls_logits"], piece["box_pred_cxcywh"], piece["gt_labels"], piece["gt_bboxes"]
    for name, weights in parts.items():
        close(matching_cost(*arguments, size=(height, width), weights=weights), piece[f"{name}_cost"])
    (match,) = hungarian_assignment([matching_cost(*arguments, size=(height, width), weights=MatchingCosts())])
    assert torch.equal(match + 1, piece["gt_inds"])


@pytest.mark.parametrize(
    "piece", [f"cdn_query_generator_{name}" for name in ("noise", "zero_noise", "fewdn")], indirect=True
)
def test_denoising_queries(piece: dict[str, Tensor]) -> None:
    classes = len(piece["label_embedding"])
    sizes = [(int(height), int(width)) for height, width in piece["img_hw"]]
    batch = ImageBatch(torch.zeros(len(sizes), 3, 150, 200), sizes, sizes, sizes)
    targets = [Target(piece[f"gt_bboxes{i}"], piece[f"gt_labels{i}"]) for i in range(len(sizes))]
    config = DenoisingConfig(
        queries=int(piece["num_dn_queries"]),
        label_noise=float(piece["label_noise"]),
        box_noise=float(piece["box_noise"]),
    )
    queries = denoising_queries(targets, batch, config, classes, RecordedDraws(piece, config.label_noise, "draw_"))
    assert queries is not None
    assert len(queries) == int(piece["pad_size"])
    assert queries.groups == int(piece["num_dn_group"])
    content = piece["label_embedding"][queries.labels.clamp(max=classes - 1)] * queries.filled[..., None]
    close(content, piece["label_query"])
    close(inverse_sigmoid(queries.boxes_cxcywh, 1e-3) * queries.filled[..., None], piece["bbox_query"])
    assert torch.equal(queries.attention_mask(int(piece["num_queries"])), piece["attn_mask"].bool())


@pytest.mark.parametrize("piece", ["cdn_query_generator_noise"], indirect=True)
def test_denoising_targets(piece: dict[str, Tensor]) -> None:
    """Positive copies must predict their object; negative copies and empty slots are background."""
    classes = len(piece["label_embedding"])
    sizes = [(int(height), int(width)) for height, width in piece["img_hw"]]
    batch = ImageBatch(torch.zeros(len(sizes), 3, 150, 200), sizes, sizes, sizes)
    targets = [Target(piece[f"gt_bboxes{i}"], piece[f"gt_labels{i}"]) for i in range(len(sizes))]
    queries = denoising_queries(targets, batch, DenoisingConfig(queries=20), classes, RandomDraws())
    assert queries is not None
    slots = max(len(target) for target in targets)
    assert queries.positives == queries.groups * sum(len(target) for target in targets)
    for image, target in enumerate(targets):
        height, width = sizes[image]
        for query in range(len(queries)):
            copy, slot = divmod(query, slots)
            label = int(queries.targets.labels[0, image, query])
            if copy % 2 or slot >= len(target):
                assert label == classes
                assert queries.targets.box_weights[0, image, query] == 0
            else:
                assert label == int(target.labels[slot])
                box = cxcywh_to_xyxy(queries.targets.boxes_cxcywh[0, image, query])
                close(box * torch.tensor([width, height, width, height]), target.boxes[slot])
