"""Weights by name: from the cache when they are there, and honest errors when they cannot be had."""

from __future__ import annotations

import errno
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError, URLError

import pytest
import torch

from codetr import zoo
from codetr.core.errors import RunFailed, UserError
from codetr.models.backbones.config import SwinConfig
from codetr.models.backbones.swin import Swin
from codetr.weights.pretrained.download import URLS, download_error, fetch_published
from codetr.weights.pretrained.load import load_backbone


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch's cache, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_a_cached_file_is_not_downloaded_again(cache: Path) -> None:
    """Every process of every run would download it."""
    backbone = Swin(SwinConfig(width=12, attention_heads=(1, 2, 3, 4), depths=(1, 1, 1, 1)))
    torch.manual_seed(1)
    weights = {
        name: torch.randn_like(value) for name, value in backbone.state_dict().items() if value.is_floating_point()
    }
    torch.save({"model": weights}, cache / "swin_tiny_patch4_window7_224.pth")
    load_backbone(backbone, "swin_tiny_patch4_window7_224")
    name = "layers.0.blocks.0.attn.qkv.weight"
    assert torch.equal(backbone.state_dict()[name], weights[name])


def test_a_failed_download_says_where_it_looked_and_leaves_nothing(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(URLS, "swin_tiny_patch4_window7_224", "http://127.0.0.1:9/swin.pth")
    with pytest.raises(RunFailed, match=r"127\.0\.0\.1:9.*another machine and give its path: --set backbone_weights="):
        fetch_published("swin_tiny_patch4_window7_224")
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (HTTPError("https://x", 404, "Not Found", Message(), None), UserError),
        (HTTPError("https://x", 503, "Unavailable", Message(), None), RunFailed),
        (HTTPError("https://x", 429, "Too Many Requests", Message(), None), RunFailed),
        (URLError("timed out"), RunFailed),
        (PermissionError(errno.EACCES, "Permission denied", "/cache"), UserError),
        (OSError(errno.ENOSPC, "No space left on device"), RunFailed),
        (RuntimeError("invalid hash value"), RunFailed),
    ],
    ids=str,
)
def test_a_server_that_is_away_is_no_mistake(error: Exception, kind: type) -> None:
    """A scheduler never repeats a mistake, so one lost connection ended a pipeline."""
    assert type(download_error(error, "x", "https://x")) is kind


def test_unknown_names_list_the_known_ones(cache: Path) -> None:
    with pytest.raises(UserError, match=r"swin_tiny_patch4_window7_224.*eva02"):
        fetch_published("swin_giant")


def test_recipes_name_weights_that_exist() -> None:
    """A recipe would only fail when it is run."""
    named = {zoo.recipe(name).backbone_weights for name in zoo.names()} - {None, "IMAGENET1K_V1"}
    assert named == set(URLS)
