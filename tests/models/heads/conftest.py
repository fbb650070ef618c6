"""Fixtures of the tests of heads."""

from __future__ import annotations

import pytest

from tests.support.models.auxiliary_heads import Heads, build_heads


@pytest.fixture
def heads() -> Heads:
    return build_heads()
