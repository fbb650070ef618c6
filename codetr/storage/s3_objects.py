"""Read objects on S3, with checksums.

A download that breaks off is repeated here: s3transfer, which would do that, sends a second request for the size of
every object, or gives up the checksums, and fails for a service that does not send a size.
"""

from __future__ import annotations

import io
import time
from contextlib import closing
from pathlib import Path
from typing import Any, BinaryIO

from codetr.core.errors import RunFailed, UserError
from codetr.storage.s3_client import START_AGAIN, S3Address, reported, s3_client

_BODY_ATTEMPTS = 4
_CHUNK = 1 << 20


def read_object(address: S3Address, *, limit: int) -> bytes:
    """Return the content of an object.

    Args:
        address: of the object.
        limit: in bytes; a larger object is not read.

    Raises:
        NoObjectError: there is no such object.
        UserError: it is larger than `limit`, archived, damaged, or has a name that S3 does not accept.
        StorageError: no credentials, no such bucket, access denied, or settings that cannot be used.
        RunFailed: the service is unreachable, or it keeps failing.
    """
    stream = io.BytesIO()
    _copy(address, stream, limit)
    return stream.getvalue()


def download(address: S3Address, file: Path, *, limit: int) -> None:
    """Download an object into a new file.

    Raises:
        NoObjectError, UserError, StorageError, RunFailed: see `read_object`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as stream:
        _copy(address, stream, limit)


def _copy(address: S3Address, stream: BinaryIO, limit: int) -> None:
    """Copy an object into an empty stream; the errors are those of `read_object`."""
    client = s3_client()
    from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

    too_large = UserError(f"is larger than {limit >> 30} GiB", where=str(address))
    for attempt in range(_BODY_ATTEMPTS):
        if attempt:
            time.sleep(0.1 * 2**attempt)
            stream.seek(0)
            stream.truncate()
        response: dict[str, Any]
        with reported(address):
            response = client.get_object(Bucket=address.bucket, Key=address.key)
        try:
            with closing(response["Body"]) as body:
                # Not every service sends the size.
                if response.get("ContentLength", 0) > limit:
                    raise too_large
                while content := body.read(_CHUNK):
                    if stream.tell() + len(content) > limit:
                        raise too_large
                    stream.write(content)
            return
        # botocore repeats requests, but not once a response has begun.
        except (HTTPClientError, IncompleteReadError, FlexibleChecksumError) as error:
            last = error
    if isinstance(last, FlexibleChecksumError):
        hint = "The stored content differs from what was uploaded; upload it again."
        raise UserError(f"is damaged: {last}", where=str(address), hint=hint)
    raise RunFailed(f"the download broke off {_BODY_ATTEMPTS} times: {last}", where=str(address), hint=START_AGAIN)
