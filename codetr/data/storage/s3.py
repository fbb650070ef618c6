"""Read S3-compatible object storage; errors distinguish a missing object, an unusable bucket and a service that fails.

Credentials, region and endpoint come from the sources that the AWS tools use (environment, `~/.aws`, the role of the
machine); `AWS_ENDPOINT_URL` selects another service. botocore repeats a request that fails. A download that breaks off
is repeated here: s3transfer, which would do that, sends a second request for the size of every object, or gives up the
checksums, and fails for a service that does not send a size.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from codetr.core.errors import RunFailed, UserError, first_line
from codetr.core.extras import install_hint
from codetr.data.storage.paths import NoFileError

SCHEME = "s3://"

_ATTEMPTS = 6
_BODY_ATTEMPTS = 4
_MAX_REDIRECTS = 3
_DENIED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")

_OBJECT_ERRORS = {
    "InvalidObjectState": "It is archived; restore it first (`aws s3api restore-object`).",
    "KeyTooLongError": "Keys on S3 have at most 1,024 bytes.",
    "XMinioInvalidObjectName": "MinIO does not accept this key.",
}
"""Error codes that concern one object, with what to do; all others concern the storage."""

_TEMPORARY = ("RequestTimeout", "RequestTimeoutException", "SlowDown", "Throttling", "ThrottlingException")
"""Error codes of a service that is too busy, which some services send with a status below 500."""

_CHUNK = 1 << 20
_START_AGAIN = "Start it again when the service answers."


class StorageError(UserError):
    """The bucket, the credentials or the settings of S3 are wrong; the requested object may exist or not."""


@dataclass(frozen=True)
class S3Address:
    """A prefix or an object.

    Attributes:
        bucket: name of the bucket.
        key: without `/` at either end; empty for the whole bucket.
    """

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `s3://bucket/key`.

        Raises:
            UserError: there is no bucket.
        """
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if not text.startswith(SCHEME) or not bucket:
            raise UserError("is not an address on S3", where=text, hint="Write s3://BUCKET/PREFIX.")
        return cls(bucket, key.strip("/"))

    def __str__(self) -> str:
        return f"{SCHEME}{self.bucket}/{self.key}"

    def __truediv__(self, name: str) -> S3Address:
        return S3Address(self.bucket, f"{self.key}/{name}" if self.key else name)

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]


def read_object(address: S3Address, *, limit: int) -> bytes:
    """Return the content of an object.

    Args:
        address: of the object.
        limit: in bytes; a larger object is not read.

    Raises:
        NoFileError: there is no such object.
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
        UserError: there is no such object, or see `read_object`.
        StorageError, RunFailed: see `read_object`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with file.open("wb") as stream:
            _copy(address, stream, limit)
    except NoFileError:
        raise UserError("no such object", where=str(address)) from None


def _copy(address: S3Address, stream: BinaryIO, limit: int) -> None:
    """Copy an object into an empty stream; the errors are those of `read_object`."""
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
    raise RunFailed(f"the download broke off {_BODY_ATTEMPTS} times: {last}", where=str(address), hint=_START_AGAIN)


def _get(client: Any, address: S3Address) -> dict[str, Any]:
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        ConnectionError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
        SSLError,
    )

    where = str(address)
    _redirects.count = 0
    try:
        response: dict[str, Any] = client.get_object(Bucket=address.bucket, Key=address.key)
        return response
    except ClientError as error:
        code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        if code in ("NoSuchKey", "404"):
            raise NoFileError("no such object") from None
        if code in _OBJECT_ERRORS:
            raise UserError(f"cannot be read ({code}: {message})", where=where, hint=_OBJECT_ERRORS[code]) from None
        if code == "NoSuchBucket":
            raise StorageError(f"there is no bucket '{address.bucket}'", where=where) from None
        if code in _DENIED:
            hint = "Allow s3:GetObject, and s3:ListBucket: without it, a missing object gives this error too."
            raise StorageError(f"access is denied ({code})", where=where, hint=hint) from None
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if status >= 500 or status == 429 or code in _TEMPORARY:
            raise RunFailed(f"cannot be read ({code}: {message})", where=where, hint=_START_AGAIN) from None
        raise StorageError(f"cannot be read ({code}: {message})", where=where) from None
    except (NoCredentialsError, PartialCredentialsError):
        hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or use the role of the machine."
        raise StorageError("there are no credentials for S3", where=where, hint=hint) from None
    except BotoCoreError as error:
        hint = "Check the network, the region (AWS_REGION) and the endpoint (AWS_ENDPOINT_URL)."
        # A certificate that is not accepted is not accepted at the next attempt either.
        unreachable = isinstance(error, ConnectionError | HTTPClientError) and not isinstance(error, SSLError)
        kind = RunFailed if unreachable else StorageError
        raise kind(f"cannot be read: {error}", where=where, hint=hint) from None
    except _RedirectedInACircleError:
        hint = "Check the region (AWS_REGION) and the endpoint (AWS_ENDPOINT_URL)."
        raise StorageError("the service redirects in a circle", where=where, hint=hint) from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # of headers that are not those of S3
        problem = f"the service does not answer as S3 does ({first_line(error)})"
        raise RunFailed(problem, where=where, hint=_START_AGAIN) from None


class _Redirects(threading.local):
    """How often the request of a thread was redirected."""

    count = 0


class _RedirectedInACircleError(Exception):
    """The service redirects a request again and again."""


_redirects = _Redirects()


def _count_redirect(**_: Any) -> None:
    """Count the requests for the region of a bucket: botocore sends one when it is redirected, for which also that is.

    Raises:
        _RedirectedInACircleError: it has sent several for the same request.
    """
    _redirects.count += 1
    if _redirects.count > _MAX_REDIRECTS:
        raise _RedirectedInACircleError


_lock = threading.Lock()
_clients: dict[tuple[Any, ...], Any] = {}


def _client() -> Any:
    """Return the client of this process and environment, for all threads; a fork must not share connections."""
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        hint = install_hint("s3")
        raise StorageError("reading files on S3 needs boto3, which is not installed", hint=hint) from None
    environment = sorted((name, value) for name, value in os.environ.items() if name.startswith("AWS_"))
    key = (os.getpid(), *environment)
    with _lock:
        if key not in _clients:
            _clients.clear()
            config = Config(
                retries={"max_attempts": _ATTEMPTS, "mode": "standard"},
                connect_timeout=10,
                read_timeout=60,
                max_pool_connections=64,
            )
            try:
                client = boto3.session.Session(**_credentials(os.environ)).client("s3", config=config)
            except (BotoCoreError, ValueError) as error:  # of the environment and of ~/.aws
                hint = "Check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL, which begins with http:// or https://."
                raise StorageError(f"S3 cannot be used: {error}", hint=hint) from None
            client.meta.events.register("before-call.s3.HeadBucket", _count_redirect)
            _clients[key] = client
        return _clients[key]


def _credentials(environment: Mapping[str, str]) -> dict[str, str]:
    """Return credentials from the environment without line breaks at their ends; empty if they come from elsewhere.

    Raises:
        StorageError: a value holds other spaces or control characters, which no HTTP header can have.
    """
    if not (environment.get("AWS_ACCESS_KEY_ID") and environment.get("AWS_SECRET_ACCESS_KEY")):
        return {}
    found = {}
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        if value := environment.get(name, "").strip():
            if not all("!" <= character <= "~" for character in value):
                hint = "Set it again, without spaces and line breaks."
                raise StorageError("holds characters that cannot be sent", where=name, hint=hint)
            found[name.lower()] = value
    return found
