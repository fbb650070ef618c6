"""Files on S3, or on anything that speaks its protocol, with errors that say whose matter they are.

Credentials, region and endpoint come from where the AWS tools take them (environment, `~/.aws`, the machine's role);
`AWS_ENDPOINT_URL` names another store.
"""

from __future__ import annotations

import io
import os
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from codetr.core.errors import UserError
from codetr.data.storage.paths import NoFileError

SCHEME = "s3://"

_ATTEMPTS = 6
_BODY_ATTEMPTS = 4
_DENIED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")

_OF_OBJECT = {
    "InvalidObjectState": "It is archived; restore it first (`aws s3api restore-object`).",
    "KeyTooLongError": "Keys on S3 have at most 1,024 bytes.",
    "XMinioInvalidObjectName": "MinIO takes no such key.",
}
"""Codes that are about one object, with what to do; all others are about the store."""

_CHUNK = 1 << 20


class StorageError(UserError):
    """The store as a whole cannot be used; it says nothing about the file that was asked for."""


@dataclass(frozen=True)
class S3Address:
    """A prefix or an object.

    Attributes:
        bucket: its bucket.
        key: without `/` at either end; empty for the whole bucket.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """An address from `s3://bucket/key`.

        Raises:
            UserError: without a bucket.
        """
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME) or not bucket:
            raise UserError("is no address on S3", where=text, hint="Write s3://BUCKET/PREFIX.")
        return cls(bucket, key.strip("/"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> S3Address:
        return S3Address(self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """What comes after the last `/`."""
        return self.key.rpartition("/")[2]


def read_object(address: S3Address, *, limit: int) -> bytes:
    """The content of an object.

    Args:
        address: of the object.
        limit: bytes; a larger object is not read.

    Raises:
        NoFileError: there is no such object.
        UserError: it is larger than `limit`, archived, damaged, or has a name that S3 does not take.
        StorageError: no credentials, no such bucket, access denied, or a store that cannot be reached or keeps failing.
    """
    stream = io.BytesIO()
    _copy(address, stream, limit)
    return stream.getvalue()


def download(address: S3Address, file: Path, *, limit: int) -> None:
    """Write an object into a new file.

    Raises:
        UserError: there is no such object, or as `read_object` has it.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("wb") as stream:
            _copy(address, stream, limit)
    except NoFileError:
        raise UserError("no such object", where=str(address)) from None


def _copy(address: S3Address, stream: BinaryIO, limit: int) -> None:
    """Write an object into an empty stream; the errors are those of `read_object`."""
    client = _client()
    from botocore.exceptions import FlexibleChecksumError, HTTPClientError, IncompleteReadError

    too_large = UserError(f"is larger than {limit >> 30} GiB", where=str(address))
    for attempt in range(_BODY_ATTEMPTS):
        if attempt:
            time.sleep(0.1 * 2**attempt)
            stream.seek(0)
            stream.truncate()
        response = _get(client, address)
        try:
            with closing(response["Body"]) as body:
                # Not every store says how much will come.
                if response.get("ContentLength", 0) > limit:
                    raise too_large
                while content := body.read(_CHUNK):
                    if stream.tell() + len(content) > limit:
                        raise too_large
                    stream.write(content)
            return
        # Requests are repeated by botocore, but not once an answer has begun.
        except (HTTPClientError, IncompleteReadError, FlexibleChecksumError) as error:
            last = error
    if isinstance(last, FlexibleChecksumError):
        hint = "What is stored differs from what was uploaded; upload it again."
        raise UserError(f"is damaged: {last}", where=str(address), hint=hint)
    raise StorageError(f"broke off {_BODY_ATTEMPTS} times: {last}", where=str(address))


def _get(client: Any, address: S3Address) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

    where = str(address)
    try:
        return client.get_object(Bucket=address.bucket, Key=address.key)
    except ClientError as error:
        code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        if code in ("NoSuchKey", "404"):
            raise NoFileError("no such object") from None
        if code in _OF_OBJECT:
            raise UserError(f"cannot be read ({code}: {message})", where=where, hint=_OF_OBJECT[code]) from None
        if code == "NoSuchBucket":
            raise StorageError(f"there is no bucket '{address.bucket}'", where=where) from None
        if code in _DENIED:
            hint = "Allow s3:GetObject, and s3:ListBucket, without which a missing object looks like this, too."
            raise StorageError(f"access is denied ({code})", where=where, hint=hint) from None
        raise StorageError(f"cannot be read ({code}: {message})", where=where) from None
    except (NoCredentialsError, PartialCredentialsError):
        hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role."
        raise StorageError("there are no credentials for S3", where=where, hint=hint) from None
    except BotoCoreError as error:
        hint = "Check the network, the region (AWS_REGION) and the endpoint (AWS_ENDPOINT_URL)."
        raise StorageError(f"cannot be read: {error}", where=where, hint=hint) from None


_lock = threading.Lock()
_clients: dict[int, Any] = {}


def _client() -> Any:
    """This process's client, for all of its threads; a forked process must not use its parent's connections."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        hint = "Install it: pip install 'codetr[s3]'."
        raise StorageError("files on S3 are named, but boto3 is not installed", hint=hint) from None
    with _lock:
        if os.getpid() not in _clients:
            _clients.clear()
            config = Config(
                retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
                connect_timeout=10,
                read_timeout=60,
                max_pool_connections=64,
            )
            try:
                _clients[os.getpid()] = boto3.session.Session().client("s3", config=config)
            except (BotoCoreError, ValueError) as error:  # of the environment and of ~/.aws
                hint = "Check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL, which begins with http:// or https://."
                raise StorageError(f"S3 cannot be used: {error}", hint=hint) from None
        return _clients[os.getpid()]
