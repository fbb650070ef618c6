"""Hypothesis strategies for boxes."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

position = st.floats(-500, 1500, width=32)
side = st.floats(1, 1000, width=32)
box = st.tuples(position, position, side, side)
boxes = st.lists(box, min_size=1, max_size=8)


def xyxy(items: list[tuple[float, float, float, float]]) -> Tensor:
    table = torch.tensor(items, dtype=torch.float32).reshape(-1, 4)
    return torch.cat((table[:, :2], table[:, :2] + table[:, 2:]), dim=1)
