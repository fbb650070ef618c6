"""Settings of tracking, from wandb's environment variables, and whether its server can be used."""

from __future__ import annotations

import netrc
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

from codetr.core.settings import Settings

PROBE = 1 << 16
"""Bytes that are written to find out whether a disk is full."""


class TrackingSettings(Settings):
    """Settings of tracking.

    Attributes:
        mode: "auto" sends to the server when there is an API key and writes to disk when there is none.
        project: project on the server.
        entity: team or user; None is the default of the API key.
        group: name of the pipeline run, which groups its prepare, train, evaluate and register runs.
        base_url: address of the server.
        folder: where the `wandb/` folder is created; None for beside the output of the step.
        finish_timeout: seconds to wait for uploads at the end of a run; `wandb sync` uploads the rest.
    """

    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    project: str = "codetr"
    entity: str | None = None
    group: str | None = None
    base_url: str = "https://api.wandb.ai"
    folder: Path | None = None
    finish_timeout: float = 120.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> TrackingSettings:
        """Read WANDB_MODE, WANDB_PROJECT, WANDB_ENTITY, WANDB_RUN_GROUP, WANDB_BASE_URL, WANDB_DIR
        and WANDB_FINISH_TIMEOUT.

        Raises:
            UserError: a value is invalid, for wandb as well.
        """
        names = {
            "mode": "WANDB_MODE",
            "project": "WANDB_PROJECT",
            "entity": "WANDB_ENTITY",
            "group": "WANDB_RUN_GROUP",
            "base_url": "WANDB_BASE_URL",
            "folder": "WANDB_DIR",
            "finish_timeout": "WANDB_FINISH_TIMEOUT",
        }
        given = {key: environment[name] for key, name in names.items() if environment.get(name)}
        # Aliases that wandb accepts.
        aliases = {"dryrun": "offline", "run": "online", "shared": "online"}
        if "mode" in given:
            given["mode"] = aliases.get(given["mode"], given["mode"])
        return cls.parse(given, where="the WANDB_* environment variables")


def has_credentials(base_url: str) -> bool:
    """Return whether wandb finds a key for the server without a prompt: in the environment or the netrc file."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    files = [os.environ["NETRC"]] if os.environ.get("NETRC") else ["~/.netrc", "~/_netrc"]
    for file in files:
        try:
            if netrc.netrc(os.path.expanduser(file)).authenticators(urlparse(base_url).hostname or "") is not None:
                return True
        except (OSError, netrc.NetrcParseError):
            continue
    return False


def answers(base_url: str, timeout: float) -> bool:
    """Return whether a server answers within `timeout` seconds, with any status.

    After trying a server that does not answer, wandb delays the end of the process by half a minute.
    """
    try:
        with urllib.request.urlopen(base_url, timeout=timeout):
            return True
    except urllib.error.HTTPError:
        return True
    except urllib.error.URLError as error:
        # A server with a certificate that is not trusted here does answer, and wandb may trust it.
        return isinstance(error.reason, ssl.SSLError)
    except (OSError, ValueError):
        return False


def disk_problem(folder: Path) -> str | None:
    """Return why files cannot be written to `folder`; None if they can. wandb itself does not say so."""
    probe = folder / ".codetr-probe"
    try:
        try:
            with probe.open("wb") as stream:
                stream.write(bytes(PROBE))
                stream.flush()
                os.fsync(stream.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        return error.strerror or str(error)
    return None
