"""Connect to S3-compatible object storage; errors distinguish an unusable bucket from a service that fails.

Credentials, region, endpoint and certificate authority come from the sources that the AWS tools use (environment,
`~/.aws`, the role of the machine); `AWS_ENDPOINT_URL` selects another service, `AWS_CA_BUNDLE` its authority. botocore
repeats a request that fails.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Self

from codetr.core.errors import RunFailed, UserError, first_line
from codetr.core.extras import install_hint
from codetr.storage.storage import NoObjectError

SCHEME = "s3://"

START_AGAIN = "Start it again when the service answers."

_ATTEMPTS = 6
_MAX_REDIRECTS = 3
_DENIED = ("AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken")
_PERMISSIONS = {
    "read": "Allow s3:GetObject, and s3:ListBucket: without it, a missing object gives this error too.",
    "listed": "Allow s3:ListBucket.",
    "written": "Allow s3:PutObject and s3:AbortMultipartUpload.",
    "removed": "Allow s3:DeleteObject.",
}

_OBJECT_ERRORS = {
    "InvalidObjectState": "It is archived; restore it first (`aws s3api restore-object`).",
    "KeyTooLongError": "Keys on S3 have at most 1,024 bytes.",
    "XMinioInvalidObjectName": "MinIO does not accept this key.",
}
"""Error codes that concern one object, with what to do; all others concern the storage."""

_TEMPORARY = ("RequestTimeout", "RequestTimeoutException", "SlowDown", "Throttling", "ThrottlingException")
"""Error codes of a service that is too busy, which some services send with a status below 500."""


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
            UserError: there is no bucket, or there are credentials in the address.
        """
        bucket, _, key = text.removeprefix(SCHEME).partition("/")
        if "@" in bucket:
            hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE."
            raise UserError("holds a user or a password, which is not sent", where=text, hint=hint)
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


@contextmanager
def reported(address: S3Address, done: Literal["read", "listed", "written", "removed"] = "read") -> Iterator[None]:
    """Raise the errors of the requests in the block as messages.

    Args:
        address: what the requests are about.
        done: what could not be done with it.

    Raises:
        NoObjectError: there is no such object.
        UserError: it is archived, or its name is not accepted.
        StorageError: no credentials, no such bucket, access denied, or settings that cannot be used.
        RunFailed: the service is unreachable, or it keeps failing.
    """
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
        yield
    except ClientError as error:
        code, message = error.response["Error"].get("Code", ""), error.response["Error"].get("Message", "")
        if code in ("NoSuchKey", "404"):
            raise NoObjectError("no such object", where=where) from None
        problem = f"cannot be {done} ({code}: {message})"
        if code in _OBJECT_ERRORS:
            raise UserError(problem, where=where, hint=_OBJECT_ERRORS[code]) from None
        if code == "NoSuchBucket":
            raise StorageError(f"there is no bucket '{address.bucket}'", where=where) from None
        if code in _DENIED:
            raise StorageError(f"access is denied ({code})", where=where, hint=_PERMISSIONS[done]) from None
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        if code == "NotImplemented":
            hint = "The service lacks a part of S3, such as conditional writes; use another one, or a folder."
            raise StorageError(problem, where=where, hint=hint) from None
        if status >= 500 or status == 429 or code in _TEMPORARY:
            raise RunFailed(problem, where=where, hint=START_AGAIN) from None
        raise StorageError(problem, where=where) from None
    except (NoCredentialsError, PartialCredentialsError):
        hint = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or use the role of the machine."
        raise StorageError("there are no credentials for S3", where=where, hint=hint) from None
    except BotoCoreError as error:
        hint = "Check the network, the region (AWS_REGION) and the endpoint (AWS_ENDPOINT_URL)."
        # A certificate that is not accepted is not accepted at the next attempt either.
        unreachable = isinstance(error, ConnectionError | HTTPClientError) and not isinstance(error, SSLError)
        kind = RunFailed if unreachable else StorageError
        raise kind(f"cannot be {done}: {error}", where=where, hint=hint) from None
    except _RedirectedInACircleError:
        hint = "Check the region (AWS_REGION) and the endpoint (AWS_ENDPOINT_URL)."
        raise StorageError("the service redirects in a circle", where=where, hint=hint) from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:  # of headers that are not those of S3
        problem = f"the service does not answer as S3 does ({first_line(error)})"
        raise RunFailed(problem, where=where, hint=START_AGAIN) from None


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


def s3_client() -> Any:
    """Return the client of this process and environment, for all threads; a fork must not share connections.

    Raises:
        StorageError: boto3 is not installed, or the environment has settings that cannot be used.
    """
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError:
        hint = install_hint("s3")
        raise StorageError("S3 needs boto3, which is not installed", hint=hint) from None
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
