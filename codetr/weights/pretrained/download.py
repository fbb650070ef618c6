"""Download of the published backbone weights of Swin and EVA-02, by name."""

from __future__ import annotations

from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlparse

import torch

from codetr.core.errors import ReportedError, RunFailed, UserError
from codetr.core.system.os_errors import reported_os_error

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
        UserError: there are no weights with this name, or they may not be downloaded.
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
        raise download_error(error, name, URLS[name]) from None
    return path


def download_error(error: Exception, name: str, address: str) -> ReportedError:
    """Return the error for weights that cannot be downloaded; a retry may help unless the server or a folder refuses.

    Args:
        error: as urllib, Hugging Face or the system raised it.
        name: of the weights.
        address: where they are.
    """
    refused = isinstance(error, HTTPError) and error.code in range(400, 500) and error.code not in (408, 429)
    of_system = reported_os_error(error) if isinstance(error, OSError) else None
    kind = UserError if refused or isinstance(of_system, UserError) else RunFailed
    return kind(
        f"cannot download '{name}' from {address}: {str(error).rstrip('.')}",
        where="backbone_weights",
        hint="Without a network, download the file on another machine and give its path: --set backbone_weights=FILE.",
    )
