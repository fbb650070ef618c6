"""Encoding of boxes as deltas."""

from __future__ import annotations

import torch
from hypothesis import given

from codetr.models.heads.dense.box_coder import BoxCoder
from tests.support.models.random_boxes import box, xyxy


@given(box, box)
def test_decoding_undoes_encoding(reference: tuple, other: tuple) -> None:
    """Up to the largest change of scale that decoding allows, 62.5."""
    references, expected = xyxy([reference]), xyxy([other])
    coder = BoxCoder((0.1, 0.1, 0.2, 0.2))
    decoded = coder.decode(references, coder.encode(references, expected))
    ratio = (expected[:, 2:] - expected[:, :2]) / (references[:, 2:] - references[:, :2])
    if ((ratio < 62) & (ratio > 1 / 62)).all():
        torch.testing.assert_close(decoded, expected, rtol=1e-3, atol=0.05)
    assert decoded.isfinite().all()
