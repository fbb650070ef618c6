"""A recipe is consistent."""

from __future__ import annotations

import pytest

from codetr import zoo
from codetr.core.errors import UserError
from tests.support.paths import ROOT

GOLDEN = ROOT / "tests" / "golden"


@pytest.mark.parametrize(
    "assignment",
    ["augment.canvas=512", "preprocess.canvas=512", "preprocess.canvas=null", "model.backbone.canvas=1024"],
)
def test_a_model_of_one_canvas_has_one_canvas_throughout(assignment: str) -> None:
    """It would be trained on one size and tested on another."""
    with pytest.raises(UserError, match=r"canvas is .* must be equal"):
        zoo.recipe("co_dino_5scale_lsj_vit_large_lvis").override([assignment])
