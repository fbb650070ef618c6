"""Open the storage of an address: a folder or s3://BUCKET/PREFIX."""

from __future__ import annotations

from pathlib import Path

from codetr.core.errors import UserError
from codetr.storage.folder import FolderStorage
from codetr.storage.s3 import S3Storage
from codetr.storage.s3_client import SCHEME, S3Address
from codetr.storage.storage import Storage


def open_storage(address: str) -> Storage:
    """Return the storage of an address; nothing is read or written.

    Raises:
        UserError: it is no address of a folder or on S3.
    """
    if address.startswith(SCHEME):
        return S3Storage(S3Address.parse(address))
    if "://" in address:
        raise UserError("is neither a folder nor on S3", where=address, hint="Write a path or s3://BUCKET/PREFIX.")
    return FolderStorage(Path(address).expanduser())
