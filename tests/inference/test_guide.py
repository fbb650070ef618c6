"""The Python code of the guide runs as written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.data.clips import write_clip
from tests.support.models.small_models import masked, write_images, write_model
from tests.support.paths import ROOT

GUIDE = ROOT / "docs" / "how-to" / "inference.md"


def test_the_snippets_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """It is the first code that a reader copies."""
    (tmp_path / "outputs").mkdir()
    write_model(tmp_path / "outputs/model", **masked())
    write_images(tmp_path / "images", 1)
    Image.open(tmp_path / "images/0.png").resize((150, 90)).save(tmp_path / "photo.jpg")
    Image.open(tmp_path / "images/0.png").resize((1100, 40)).save(tmp_path / "aerial.jpg")
    write_clip(tmp_path / "clip.mp4", 3)
    monkeypatch.chdir(tmp_path)
    snippets = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(snippets) >= 5
    names: dict[str, Any] = {}
    for snippet in snippets:
        exec(compile(snippet, GUIDE.name, "exec"), names)
    assert isinstance(names["several"], list)
    assert len(names["batch"]) == 2
    assert (tmp_path / "found.png").is_file()
    assert capsys.readouterr().out.splitlines()[-1].startswith("2 0.08")
