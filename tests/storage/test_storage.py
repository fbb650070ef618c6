"""What every storage promises: in a folder and on an S3 server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest

from codetr.core.errors import UserError
from codetr.storage.folder import FolderStorage
from codetr.storage.open_storage import open_storage
from codetr.storage.s3 import S3Storage
from codetr.storage.s3_client import S3Address, StorageError, s3_client
from codetr.storage.storage import NoObjectError, Storage


@pytest.fixture(params=["folder", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty storage of each kind."""
    if request.param == "folder":
        return open_storage(str(tmp_path / "store"))
    return open_storage(request.getfixturevalue("s3_prefix"))


def test_an_object_is_created_once(storage: Storage, tmp_path: Path) -> None:
    """Two processes would believe that their result is the stored one."""
    assert storage.create("results/a", b"first")
    assert not storage.create("results/a", b"second")
    (tmp_path / "file").write_bytes(b"third")
    assert not storage.upload("results/a", tmp_path / "file")
    assert storage.read("results/a") == b"first"


def test_of_many_writers_at_once_one_creates_the_object(storage: Storage) -> None:
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: storage.create("record", str(number).encode()), range(8)))
    assert created.count(True) == 1
    assert storage.read("record") == str(created.index(True)).encode()


def test_files_keep_their_content_both_ways(storage: Storage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(range(256)) * 100)
    assert storage.upload("blobs/ab", tmp_path / "file")
    storage.download("blobs/ab", tmp_path / "new" / "copy")
    assert (tmp_path / "new" / "copy").read_bytes() == (tmp_path / "file").read_bytes()


def test_a_change_of_a_file_does_not_reach_the_storage(storage: Storage, tmp_path: Path) -> None:
    """A user who edits an output would change what others get."""
    (tmp_path / "file").write_bytes(b"stored")
    storage.upload("blobs/ab", tmp_path / "file")
    storage.download("blobs/ab", tmp_path / "copy")
    for name in ("file", "copy"):
        (tmp_path / name).write_bytes(b"edited")
    assert storage.read("blobs/ab") == b"stored"


def test_names_are_those_directly_below_and_objects_are_all(storage: Storage) -> None:
    assert storage.names("results") == []
    assert list(storage.objects("")) == []
    for key in ("results/model/b", "results/model/a", "results/dataset/x/y", "results-of-others"):
        storage.create(key, key.encode())
    assert storage.names("results") == ["dataset", "model"]
    assert storage.names("") == ["results", "results-of-others"]
    found = {entry.key: entry.size for entry in storage.objects("results")}
    assert found == {key: len(key) for key in ("results/dataset/x/y", "results/model/a", "results/model/b")}


def test_what_is_missing_is_named(storage: Storage, tmp_path: Path) -> None:
    """The caller has to tell a missing result from a storage that cannot be used."""
    with pytest.raises(NoObjectError, match="blobs/ab"):
        storage.read("blobs/ab")
    with pytest.raises(NoObjectError, match="blobs/ab"):
        storage.download("blobs/ab", tmp_path / "copy")
    storage.delete("blobs/ab")


def test_a_removed_object_can_be_created_again(storage: Storage) -> None:
    storage.create("a", b"damaged")
    storage.delete("a")
    assert storage.create("a", b"right")
    assert storage.read("a") == b"right"


def test_a_file_in_parts_appears_once_and_whole(s3_prefix: str, tmp_path: Path) -> None:
    """Weights are larger than what S3 takes in one request."""
    storage = S3Storage(S3Address.parse(s3_prefix), part=5 << 20)
    (tmp_path / "weights").write_bytes(bytes(range(256)) * (6 << 12) + b"end")
    assert storage.upload("weights", tmp_path / "weights")
    assert not storage.upload("weights", tmp_path / "weights")
    storage.download("weights", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "weights").read_bytes()


def test_an_upload_in_parts_that_is_overtaken_leaves_no_parts(s3_prefix: str, tmp_path: Path) -> None:
    """They cost as much as the object, and no listing shows them."""
    storage = S3Storage(S3Address.parse(s3_prefix), part=5 << 20)
    file = tmp_path / "weights"
    file.write_bytes(bytes(6 << 20))

    def overtake(**_: object) -> None:
        boto3.client("s3").put_object(Bucket=storage.root.bucket, Key=f"{storage.root.key}/weights", Body=b"other")

    event = "before-call.s3.CompleteMultipartUpload"
    s3_client().meta.events.register(event, overtake)
    try:
        assert not storage.upload("weights", file)
    finally:
        s3_client().meta.events.unregister(event, overtake)
    assert storage.read("weights") == b"other"
    uploads = boto3.client("s3").list_multipart_uploads(Bucket=storage.root.bucket).get("Uploads", [])
    assert not [upload for upload in uploads if upload["Key"].startswith(storage.root.key)]


def test_a_bucket_that_does_not_exist_is_a_mistake(s3_prefix: str) -> None:
    storage = open_storage("s3://elsewhere/store")
    for call in (lambda: storage.create("a", b""), lambda: storage.names("a"), lambda: storage.read("a")):
        with pytest.raises(StorageError, match="there is no bucket 'elsewhere'"):
            call()


def test_addresses() -> None:
    assert isinstance(open_storage("outputs/store"), FolderStorage)
    assert str(open_storage("s3://bucket/prefix/")) == "s3://bucket/prefix"
    with pytest.raises(UserError, match="gs://bucket: is neither a folder nor on S3"):
        open_storage("gs://bucket")
    with pytest.raises(UserError, match="s3://: is not an address on S3"):
        open_storage("s3://")
    with pytest.raises(UserError, match="holds a user or a password") as refused:
        open_storage("s3://AKIA:secret@bucket/store")
    assert "secret" not in str(refused.value)
