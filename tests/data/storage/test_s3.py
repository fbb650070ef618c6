"""Images on S3: downloaded once, cached by digest, the same dataset as from files; errors name their cause."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from codetr.core.errors import RunFailed, UserError
from codetr.core.files import sha256_bytes
from codetr.data.config import AugmentConfig, LoaderConfig, PreprocessConfig, SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.data.loading.loader import EvalLoader, TrainLoader, whole_views
from codetr.data.storage.cache import ImageCache
from codetr.data.storage.image_error import BadImageError
from codetr.data.synthetic import ANNOTATIONS
from codetr.steps.prepare import prepare
from codetr.storage.s3_client import S3Address, StorageError
from codetr.storage.s3_objects import download, read_object
from codetr.storage.storage import NoObjectError
from tests.support.data.s3_server import KEY, S3Server, serving

PREPROCESS = PreprocessConfig(short_side=64, long_side=96)
AUGMENT = AugmentConfig(short_sides=(48,), long_side=96, crop=None)


@pytest.fixture
def server(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """The drawn dataset in the bucket `data`; this process has the right credentials and an empty cache."""
    shutil.copytree(drawn, tmp_path / "buckets" / "data" / "drawn")
    monkeypatch.setenv("CODETR_IMAGE_CACHE", str(tmp_path / "cache"))
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with serving(tmp_path / "buckets") as running:
        monkeypatch.setenv("AWS_ENDPOINT_URL", running.url)
        yield running


def on_s3(images: str = "s3://data/drawn/train/images", **settings: Any) -> PrepareConfig:
    train = SourceConfig(annotations=f"s3://data/drawn/train/{ANNOTATIONS}", images=images)
    val = SourceConfig(annotations=f"s3://data/drawn/val/{ANNOTATIONS}", images="s3://data/drawn/val/images/")
    return PrepareConfig(train=(train,), val=(val,), **settings)


def test_a_dataset_on_s3_is_that_of_its_files_and_fetched_once(server: S3Server, dataset: Path, tmp_path: Path) -> None:
    """Training would fetch every image again in every epoch, and every worker for itself."""
    prepare(on_s3(), tmp_path / "dataset")
    split, files = Split.open(tmp_path / "dataset", "train"), Split.open(dataset, "train")
    assert split.to_coco() == files.to_coco()
    assert str(split.path(0)) == f"s3://data/drawn/train/images/{split.relative_path(0)}"
    assert [split.digest(i) for i in range(20)] == [files.digest(i) for i in range(20)]
    assert set(server.requests.values()) == {1}, "prepare fetches everything once"
    server.requests.clear()
    found, expected = (
        list(EvalLoader(opened, whole_views(opened, [range(len(opened))], PREPROCESS), workers=workers))
        for opened, workers in ((split, 2), (files, 0))
    )
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(found, expected, strict=True))
    assert not server.requests, "what prepare fetched is in the cache"

    shutil.rmtree(tmp_path / "cache")
    for _ in range(2):
        list(TrainLoader(split, AUGMENT, PREPROCESS, LoaderConfig(workers=2), seed=0).epoch(0))
    assert len(server.requests) == 20
    assert set(server.requests.values()) == {1}, "what a worker fetched is there for the others"


def test_an_independent_s3_server_is_read_in_the_same_way(
    server: S3Server, drawn: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of these tests implements our reading of S3's documentation; moto is an independent implementation."""
    store = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    store.start()
    try:
        host, port = store.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        client = boto3.client("s3")
        client.create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
        for path in sorted(drawn.rglob("*")):
            if path.is_file():
                client.upload_file(str(path), "data", f"drawn/{path.relative_to(drawn).as_posix()}")
        prepare(on_s3(), tmp_path / "dataset")
        split = Split.open(tmp_path / "dataset", "train")
        assert split.to_coco() == Split.open(dataset, "train").to_coco()
        shutil.rmtree(tmp_path / "cache")
        assert np.array_equal(split.record(0).read(), Split.open(dataset, "train").record(0).read())
        with pytest.raises(StorageError, match="there is no bucket 'elsewhere'"):
            read_object(S3Address("elsewhere", "a.jpg"), limit=10)
        with pytest.raises(NoObjectError):
            read_object(S3Address("data", "drawn/none.jpg"), limit=10)
    finally:
        store.stop()
    assert not server.requests


def test_a_busy_store_and_broken_answers_cost_time_only(server: S3Server) -> None:
    address = S3Address.parse("s3://data/drawn") / f"train/{ANNOTATIONS}"
    expected = (server.root / "data" / "drawn" / "train" / ANNOTATIONS).read_bytes()
    server.busy, server.broken = 1, 2
    assert read_object(address, limit=1 << 20) == expected
    server.broken = 100
    with pytest.raises(RunFailed, match="broke off 4 times"):
        read_object(address, limit=1 << 20)
    server.broken = 0
    with pytest.raises(UserError, match="is larger than"):
        read_object(address, limit=10)
    server.unsized = True
    assert read_object(address, limit=1 << 20) == expected
    with pytest.raises(UserError, match="is larger than"):
        read_object(address, limit=10)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_service_that_is_away_is_a_failure_and_no_mistake(server: S3Server, tmp_path: Path, workers: int) -> None:
    """A scheduler would not start training again, although the service is back in a minute."""
    prepare(on_s3(), tmp_path / "dataset")
    shutil.rmtree(tmp_path / "cache")
    split = Split.open(tmp_path / "dataset", "train")
    skip = LoaderConfig(workers=workers, bad_images="skip")
    server.broken = 1000
    with pytest.raises(RunFailed, match=r"s3://data/drawn/.*: the download broke off 4 times"):
        list(TrainLoader(split, AUGMENT, PREPROCESS, skip, seed=0).epoch(0))


@pytest.mark.parametrize(
    ("port", "error", "match"),
    [(1, RunFailed, "cannot be read: Could not connect.*Check the network"), (None, RunFailed, "SlowDown")],
    ids=["unreachable", "busy"],
)
def test_a_service_that_keeps_failing_is_a_failure(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, port: int | None, error: type[Exception], match: str
) -> None:
    """Bucket, key and credentials may be right: with the exit code of a mistake nothing would be retried."""
    monkeypatch.setattr("time.sleep", lambda _: None)
    server.busy = 1000
    if port is not None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(error, match=match):
        read_object(S3Address.parse("s3://data/drawn") / f"train/{ANNOTATIONS}", limit=10)


def test_an_object_that_is_too_large_is_not_fetched(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its size comes first; all of its bytes up to the limit would be fetched for nothing."""
    monkeypatch.setattr("botocore.response.StreamingBody.read", lambda *_: pytest.fail("was fetched"))
    with pytest.raises(UserError, match="is larger than"):
        read_object(S3Address.parse("s3://data/drawn") / f"train/{ANNOTATIONS}", limit=10)


def test_the_last_attempt_is_not_waited_after(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("time.sleep", pauses.append)
    server.broken = 100
    with pytest.raises(RunFailed, match="broke off 4 times"):
        read_object(S3Address.parse("s3://data/drawn") / f"train/{ANNOTATIONS}", limit=1 << 20)
    assert len(pauses) == 3


def test_annotations_are_fetched_as_surely_as_images(server: S3Server, tmp_path: Path) -> None:
    """An answer that breaks off would be half a file; one without end would fill the disk."""
    address = S3Address.parse("s3://data/drawn") / f"train/{ANNOTATIONS}"
    expected = (server.root / "data" / "drawn" / "train" / ANNOTATIONS).read_bytes()
    server.broken = 2
    download(address, tmp_path / "new" / "a.json", limit=1 << 20)
    assert (tmp_path / "new" / "a.json").read_bytes() == expected
    with pytest.raises(UserError, match="is larger than"):
        download(address, tmp_path / "b.json", limit=10)
    with pytest.raises(UserError, match="no such object"):
        download(address / "none", tmp_path / "c.json", limit=10)


@pytest.mark.parametrize(
    ("environment", "images", "message"),
    [
        ({"AWS_ACCESS_KEY_ID": None}, "s3://data/drawn/train/images", r"there are no credentials for S3\. Set AWS_ACC"),
        ({"AWS_ACCESS_KEY_ID": "other"}, "s3://data/drawn/train/images", "denied \\(InvalidAccessKeyId\\)"),
        ({}, "s3://elsewhere/images", "there is no bucket 'elsewhere'"),
        ({}, "s3://", "is not an address on S3"),
        ({}, "s3://data/shards.tar", "is a tar file on S3, which is not supported"),
        ({}, "s3://data/nothing", r"20 of 20 images cannot be used \(image_missing 20\)"),
        (
            {"AWS_PROFILE": "missing"},
            "s3://data/drawn/train/images",
            r"S3 cannot be used: .*missing.*Check AWS_PROFILE",
        ),
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, "s3://data/drawn/train/images", "Invalid endpoint.* begins with http"),
        ({"CODETR_IMAGE_CACHE_GB": "much"}, "s3://data/drawn/train/images", "is 'much', not a number of GB"),
    ],
    ids=[
        "no credentials",
        "wrong credentials",
        "no bucket",
        "no address",
        "tar",
        "no images",
        "profile",
        "endpoint",
        "cache",
    ],
)
def test_what_is_wrong_with_the_store_is_said(
    server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str | None],
    images: str,
    message: str,
) -> None:
    """A thousand unreadable images would hide that there is a single cause."""
    local = SourceConfig(annotations=str(server.root / "data" / "drawn" / "train" / ANNOTATIONS), images=images)
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(UserError, match=message):
        prepare(PrepareConfig(train=(local,), val_fraction=0.3), tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_what_is_to_be_installed_is_said(server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "boto3"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "boto3", None)
    local = SourceConfig(
        annotations=str(server.root / "data" / "drawn" / "train" / ANNOTATIONS), images="s3://data/drawn/train/images"
    )
    for source in (local, on_s3().train[0]):
        with pytest.raises(UserError, match=r'pip install .* -e "\.\[s3\]"'):
            prepare(PrepareConfig(train=(source,)), tmp_path / "dataset")


def test_a_denied_store_ends_training_also_where_bad_images_are_skipped(server: S3Server, tmp_path: Path) -> None:
    prepare(on_s3(), tmp_path / "dataset")
    shutil.rmtree(tmp_path / "cache")
    server.denied = "images"
    split = Split.open(tmp_path / "dataset", "train")
    skip = LoaderConfig(workers=0, bad_images="skip")
    with pytest.raises(UserError, match=r"access is denied \(AccessDenied\)"):
        list(TrainLoader(split, AUGMENT, PREPROCESS, skip, seed=0).epoch(0))
    # With a cache, training does not depend on the store.
    server.denied = None
    list(TrainLoader(split, AUGMENT, PREPROCESS, skip, seed=0).epoch(0))
    server.denied = "images"
    list(TrainLoader(split, AUGMENT, PREPROCESS, skip, seed=0).epoch(1))


def test_objects_that_are_gone_or_others_are_bad_images(server: S3Server, tmp_path: Path) -> None:
    prepare(on_s3(), tmp_path / "dataset")
    shutil.rmtree(tmp_path / "cache")
    split = Split.open(tmp_path / "dataset", "train")
    objects = [server.root / "data" / "drawn" / "train" / "images" / split.relative_path(i) for i in range(3)]
    objects[0].unlink()
    shutil.copyfile(objects[2], objects[1])
    with pytest.raises(BadImageError, match="no such object"):
        split.record(0).read()
    with pytest.raises(BadImageError, match="has other content than when the dataset was prepared"):
        split.record(1).read()
    server.archived = split.relative_path(2)
    with pytest.raises(BadImageError, match=r"cannot be read \(InvalidObjectState: .*restore it first"):
        split.record(2).read()
    server.damaged = split.relative_path(3)
    with pytest.raises(BadImageError, match=r"is damaged: .*upload it again"):
        split.record(3).read()
    loader = TrainLoader(split, AUGMENT, PREPROCESS, LoaderConfig(workers=0, bad_images="skip"), seed=0)
    list(loader.epoch(0))
    assert {image.index for image in loader.take_bad_images(len(loader))} == {0, 1, 2, 3}


def test_names_are_as_safe_as_paths(server: S3Server, tmp_path: Path) -> None:
    """`..` would be a way to any object of the bucket."""
    content = json.loads((server.root / "data" / "drawn" / "train" / ANNOTATIONS).read_text())
    names = ["../secret.jpg", "/etc/passwd", "s3://other/a.jpg", "long/" * 300]
    for image, name in zip(content["images"], names, strict=False):
        image["file_name"] = name
    content["images"][4]["file_name"] = f".\\{content['images'][4]['file_name']}"
    (server.root / "data" / "drawn" / "train" / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "a.json").write_text(json.dumps(content))
    source = SourceConfig(annotations=str(tmp_path / "a.json"), images="s3://data/drawn/train/images")
    prepare(PrepareConfig(train=(source,), val=(source,)), tmp_path / "dataset")
    findings = read_report(tmp_path / "dataset").splits["train"].findings
    counts = {finding.name: finding.count for finding in findings}
    assert (counts["image_unsafe_path"], counts["image_unreadable"], counts["image_name_adapted"]) == (3, 1, 1)
    assert not [path for path in server.requests if "secret" in path or "passwd" in path]


def of_one_folder(count: int, length: int) -> dict[str, bytes]:
    """Contents by digest, of which all are kept in the folder `00`."""
    contents: dict[str, bytes] = {}
    numbers = itertools.count()
    while len(contents) < count:
        content = f"{next(numbers)}".encode().ljust(length)
        if (digest := sha256_bytes(content)).startswith("sha256:00"):
            contents[digest] = content
    return contents


def test_the_cache_keeps_its_limit_and_what_was_used_last(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path, limit=256 * 1000)
    small = of_one_folder(12, 100)
    digests = list(small)
    for number, digest in enumerate(digests[:9]):
        cache.put(digest, small[digest])
        os.utime(tmp_path / "00" / digest[7:], (number, number))
    assert cache.get(digests[0]) == small[digests[0]], "used just now, and oldest before"
    for digest in digests[9:]:
        cache.put(digest, small[digest])
    assert [number for number in range(12) if cache.get(digests[number])] == [0, *range(3, 12)]
    ((digest, large),) = of_one_folder(1, 5000).items()
    cache.put(digest, large)
    assert cache.get(digest) == large, "the newest is never removed for itself"
    assert len(list((tmp_path / "00").iterdir())) == 1


@pytest.mark.parametrize("content", [b"con", b"", b"CONTENT"], ids=["short", "empty", "other"])
def test_a_file_in_the_cache_that_is_damaged_is_not_used(tmp_path: Path, content: bytes) -> None:
    """It would be trained on as the image, on this machine alone; the store still has the right one."""
    cache, digest = ImageCache(tmp_path, limit=10**6), sha256_bytes(b"content")
    cache.put(digest, b"content")
    assert cache.get(digest) == b"content"
    file = tmp_path / digest[7:9] / digest[7:]
    file.write_bytes(content)
    assert cache.get(digest) is None
    assert not file.exists()


def test_a_cache_of_another_user_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who may read files but not touch them would fetch each of them in every epoch."""
    cache, digest = ImageCache(tmp_path, limit=10**6), sha256_bytes(b"content")
    cache.put(digest, b"content")

    def denied(*arguments: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "utime", denied)
    assert cache.get(digest) == b"content"


def test_a_cache_that_cannot_be_written_is_no_error(
    server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A full disk, or a container whose home is read-only, would end a run that needs neither."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("CODETR_IMAGE_CACHE", str(tmp_path / "file" / "cache"))
    prepare(on_s3(), tmp_path / "dataset")
    split = Split.open(tmp_path / "dataset", "train")
    assert split.record(0).read() is not None
    assert [record.message for record in caplog.records if "are not cached" in record.message][1:] == []
    assert "are not cached" in caplog.text
