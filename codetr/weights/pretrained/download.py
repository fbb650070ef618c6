"""Backbone weights that are published under a name and have to be downloaded: those of Swin and EVA-02."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

import torch

from codetr.core.errors import UserError

_SWIN = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0"
URLS = {
    "swin_tiny_patch4_window7_224": f"{_SWIN}/swin_tiny_patch4_window7_224.pth",
    "swin_small_patch4_window7_224": f"{_SWIN}/swin_small_patch4_window7_224.pth",
    "swin_base_patch4_window12_384_22k": f"{_SWIN}/swin_base_patch4_window12_384_22k.pth",
    "swin_large_patch4_window12_384_22k": f"{_SWIN}/swin_large_patch4_window12_384_22k.pth",
    "eva02_L_pt_m38m_p14to16": "https://huggingface.co/Yuxin-CV/EVA-02/resolve/main/eva02/pt/eva02_L_pt_m38m_p14to16.pt",
}
"""Where the authors keep them, by the name of the file without its ending."""


def fetch_published(name: str) -> Path:
    """The file of the weights called `name`, downloaded into torch's cache if it is not there yet.

    Its authors publish no digests; it is read like any foreign file, without executing anything.

    Raises:
        UserError: there are none of this name, or the download fails.
    """
    if name not in URLS:
        raise UserError(
            f"'{name}' is neither a file nor the name of weights",
            where="backbone_weights",
            hint=f"Names are: {', '.join(URLS)}; a ResNet takes torchvision's, such as IMAGENET1K_V1.",
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(URLS[name]).path).name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URLS[name], str(path), progress=False)
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"downloading '{name}' from {URLS[name]} failed: {error}",
            where="backbone_weights",
            hint="Download the file elsewhere and give its path instead.",
        ) from None
    return path
