"""A storage in an S3-compatible bucket, with conditional writes: exactly one of several writers creates an object."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from codetr.core.errors import RunFailed
from codetr.storage.s3_client import START_AGAIN, S3Address, reported, s3_client
from codetr.storage.s3_objects import download, read_object
from codetr.storage.storage import StoredObject

MAX_RECORD = 64 << 20
"""Bytes of the largest object that `read` returns."""

MAX_FILE = 5 << 40
"""Bytes of the largest object that S3 holds."""

PART = 64 << 20
"""Bytes from which a file is uploaded in parts, and of a part, unless there would be too many."""

_MOST_PARTS = 10_000
_THREADS = 4
_CONFLICTS = 5
"""How often a write is repeated that met another one of the same object, which may have failed."""


class S3Storage:
    """Objects below a prefix of a bucket."""

    def __init__(self, root: S3Address, *, part: int = PART) -> None:
        self.root = root
        self._part = part

    def __str__(self) -> str:
        return str(self.root)

    def create(self, key: str, content: bytes) -> bool:
        """Create an object with its content, unless it exists; see `Storage`."""
        address = self.root / key
        return self._once(
            address,
            lambda client: client.put_object(
                Bucket=address.bucket, Key=address.key, Body=content, IfNoneMatch="*", ChecksumAlgorithm="SHA256"
            ),
        )

    def upload(self, key: str, file: Path) -> bool:
        """Create an object with the content of a file, unless it exists; large files in parts; see `Storage`."""
        address, size = self.root / key, file.stat().st_size
        if self._exists(address):
            return False
        if size <= self._part:
            return self.create(key, file.read_bytes())
        part = max(self._part, -(-size // _MOST_PARTS))
        return self._once(address, lambda client: _upload_parts(client, address, file, size, part))

    def read(self, key: str) -> bytes:
        """Return the content of a small object; see `Storage`."""
        return read_object(self.root / key, limit=MAX_RECORD)

    def download(self, key: str, file: Path) -> None:
        """Copy an object into a new file; see `Storage`."""
        download(self.root / key, file, limit=MAX_FILE)

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names directly below `prefix`; see `Storage`."""
        address = self.root / prefix if prefix else self.root
        start = f"{address.key}/" if address.key else ""
        found = set()
        for page in self._pages(address, Prefix=start, Delimiter="/"):
            found |= {entry["Prefix"][len(start) :].rstrip("/") for entry in page.get("CommonPrefixes", ())}
            found |= {entry["Key"][len(start) :] for entry in page.get("Contents", ())}
        return sorted(found - {""})

    def objects(self, prefix: str) -> Iterator[StoredObject]:
        """Yield all objects below `prefix`; see `Storage`."""
        address = self.root / prefix if prefix else self.root
        above = len(self.root.key) + 1 if self.root.key else 0
        for page in self._pages(address, Prefix=f"{address.key}/" if address.key else ""):
            for entry in page.get("Contents", ()):
                if not entry["Key"].endswith("/"):  # some tools create these for folders
                    yield StoredObject(entry["Key"][above:], entry["Size"], entry["LastModified"].timestamp())

    def delete(self, key: str) -> None:
        """Remove an object, if it exists."""
        address = self.root / key
        client = s3_client()
        with reported(address, "removed"):
            client.delete_object(Bucket=address.bucket, Key=address.key)

    def _exists(self, address: S3Address) -> bool:
        client = s3_client()
        from botocore.exceptions import ClientError

        with reported(address):
            try:
                client.head_object(Bucket=address.bucket, Key=address.key)
            except ClientError as error:
                if error.response["Error"].get("Code") not in ("404", "NoSuchKey"):
                    raise
                return False
        return True

    def _once(self, address: S3Address, write: Callable[[Any], object]) -> bool:
        """Return whether a conditional write created the object."""
        client = s3_client()
        from botocore.exceptions import ClientError

        for _ in range(_CONFLICTS):
            with reported(address, "written"):
                try:
                    write(client)
                    return True
                except ClientError as error:
                    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
                    if status == 412:
                        return False
                    if error.response["Error"].get("Code") != "ConditionalRequestConflict":
                        raise
        raise RunFailed("other processes keep writing it", where=str(address), hint=START_AGAIN)

    def _pages(self, address: S3Address, **request: str) -> Iterator[dict[str, Any]]:
        client = s3_client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=address.bucket, **request)
        with reported(address, "listed"):
            yield from pages


def _upload_parts(client: Any, address: S3Address, file: Path, size: int, part: int) -> None:
    """Upload a file in parts; the object appears with the last request, unless it exists by then."""
    target = {"Bucket": address.bucket, "Key": address.key}
    target["UploadId"] = client.create_multipart_upload(**target, ChecksumAlgorithm="SHA256")["UploadId"]

    def send(number: int) -> dict[str, Any]:
        with file.open("rb") as stream:
            stream.seek((number - 1) * part)
            answer = client.upload_part(**target, PartNumber=number, Body=stream.read(part), ChecksumAlgorithm="SHA256")
        checksum = {"ChecksumSHA256": answer["ChecksumSHA256"]} if "ChecksumSHA256" in answer else {}
        return {"PartNumber": number, "ETag": answer["ETag"], **checksum}

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            parts = list(pool.map(send, range(1, -(-size // part) + 1)))
        client.complete_multipart_upload(**target, MultipartUpload={"Parts": parts}, IfNoneMatch="*")
    except BaseException:
        # Otherwise the bucket keeps the parts, which cost as much as the object.
        with suppress(Exception), reported(address, "written"):
            client.abort_multipart_upload(**target)
        raise
