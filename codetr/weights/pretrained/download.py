"""Download of the published backbone weights of Swin and EVA-02, by name."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlparse

import torch

from codetr.core.errors import RunFailed, UserError

_SWIN = "https://github.com/SwinTransformer/storage/releases/download/v1.0.0"
URLS = {
    "swin_tiny_patch4_window7_224": f"{_SWIN}/swin_tiny_patch4_window7_224.pth",
    "swin_small_patch4_window7_224": f"{_SWIN}/swin_small_patch4_window7_224.pth",
    "swin_base_patch4_window12_384_22k": f"{_SWIN}/swin_base_patch4_window12_384_22k.pth",
    "swin_large_patch4_window12_384_22k": f"{_SWIN}/swin_large_patch4_window12_384_22k.pth",
    "eva02_L_pt_m38m_p14to16": "https://huggingface.co/Yuxin-CV/EVA-02/resolve/main/eva02/pt/eva02_L_pt_m38m_p14to16.pt",
}
"""The authors' download addresses, by the name of the file without its suffix."""


def fetch_published(name: str) -> Path:
    """Return the file of the weights called `name`, downloaded to torch's cache unless it is there.

    The authors publish no digests; reading the file executes no code.

    Raises:
        UserError: there are no weights with this name.
        RunFailed: the download fails.
    """
    if name not in URLS:
        raise UserError(
            f"'{name}' is neither a file nor the name of published weights",
            where="backbone_weights",
            hint=f"Names: {', '.join(URLS)}; a ResNet has torchvision's, such as IMAGENET1K_V1.",
        )
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(URLS[name]).path).name
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(URLS[name], str(path), progress=False)
    except (OSError, RuntimeError) as error:
        raise download_failed(name, URLS[name], error) from None
    return path


def download_failed(name: str, address: str, error: Exception) -> RunFailed:
    """Return the error to report for weights that cannot be downloaded: a retry may succeed, and a file needs none."""
    return RunFailed(
        f"cannot download '{name}' from {address}: {str(error).rstrip('.')}",
        where="backbone_weights",
        hint="Without a network, download the file on another machine and give its path: --set backbone_weights=FILE.",
    )
