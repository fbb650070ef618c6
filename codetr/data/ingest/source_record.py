"""`sources.json`: which annotations a dataset folder was prepared from, so that another dataset is not replaced.

The manifest has digests, not paths: it is the same on every machine. This file is not part of the result.
"""

from __future__ import annotations

from pathlib import Path

from codetr.core.errors import UserError
from codetr.core.files import read_json, write_json
from codetr.data.config import SourceConfig
from codetr.data.ingest.config import PrepareConfig
from codetr.storage.s3_client import SCHEME

SOURCES = "sources.json"


def record_sources(folder: Path, config: PrepareConfig) -> None:
    """Write the annotations that the dataset in `folder` is made of."""
    write_json(folder / SOURCES, _addresses(config))


def require_same_sources(folder: Path, config: PrepareConfig) -> None:
    """Require that a dataset in `folder`, if there is one, was made of the same annotations to train on.

    The content of the files may have changed, and so may settings and the other splits: that is the same dataset, made
    again. A folder without the record is accepted.

    Raises:
        UserError: it was made of others.
    """
    record = folder / SOURCES
    if not record.is_file():
        return
    earlier = read_json(record)
    if earlier != _addresses(config):
        shown = ", ".join(map(str, earlier)) if isinstance(earlier, list) else "others"
        raise UserError(
            f"holds a dataset of other training annotations: {shown}",
            where=str(folder),
            hint="Give another output folder, or --overwrite to replace that dataset.",
        )


def _addresses(config: PrepareConfig) -> list[str]:
    return [_address(source) for source in config.train]


def _address(source: SourceConfig) -> str:
    if source.repo is not None:
        return f"{source.repo}:{source.annotations}"
    if source.annotations.startswith(SCHEME):
        return source.annotations
    return str(Path(source.annotations).expanduser().resolve())
