"""Images in tar files: read where they are, by names as safe as paths, with a word on everything that is wrong."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from codetr.core.errors import UserError
from codetr.data.config import PreprocessConfig, SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.ingest.summary import read_report
from codetr.data.loading.loader import EvalLoader, whole_views
from codetr.data.storage.image_error import BadImageError
from codetr.data.storage.paths import NoFileError, UnsafePathError
from codetr.data.storage.tar import AmbiguousNameError, Member, Shards, is_sharded, read_member
from codetr.data.synthetic import ANNOTATIONS
from codetr.steps.prepare import prepare


def pack(file: Path, paths: list[Path], prefix: str = "") -> None:
    with tarfile.open(file, "w") as archive:
        for path in paths:
            archive.add(path, prefix + path.name)


def add(archive: tarfile.TarFile, name: str, content: bytes = b"content", **fields: object) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    for field, value in fields.items():
        setattr(entry, field, value)
    archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def packed(drawn: Path, tmp_path: Path) -> Path:
    """The drawn training images in three tar files, with label files beside them as WebDataset has it."""
    folder = tmp_path / "shards"
    folder.mkdir()
    images = sorted((drawn / "train" / "images").iterdir())
    for number in range(3):
        pack(folder / f"{number:05d}.tar", images[number::3], prefix=["", "./", ""][number])
        with tarfile.open(folder / f"{number:05d}.tar", "a") as archive:
            add(archive, f"{number:05d}.json", b"{}")
    (folder / "sizes.json").write_text("{}")
    return folder


def from_tar(drawn: Path, images: Path, **settings: Any) -> PrepareConfig:
    annotated = SourceConfig(annotations=str(drawn / "train" / ANNOTATIONS), images=str(images))
    return PrepareConfig(train=(annotated,), val=(annotated,), **settings)


@pytest.mark.parametrize("single", [True, False])
def test_a_dataset_of_tar_files_is_that_of_their_files(
    drawn: Path, dataset: Path, packed: Path, tmp_path: Path, single: bool
) -> None:
    """Other pixels, names or digests would make it another dataset."""
    images = packed
    if single:
        images = tmp_path / "all.tar"
        pack(images, sorted((drawn / "train" / "images").iterdir()))
    manifest = prepare(from_tar(drawn, images), tmp_path / "dataset")
    split, files = Split.open(tmp_path / "dataset", "train"), Split.open(dataset, "train")
    assert split.to_coco() == files.to_coco()
    assert split.path(4).name == ("all.tar" if single else "00001.tar")
    for i in range(len(split)):
        assert split.digest(i) == files.digest(i)
        assert np.array_equal(split.record(i).read(), files.record(i).read())
    report = read_report(tmp_path / "dataset").splits["train"]
    assert not [finding for finding in report.findings if finding.kind.action == "dropped"]
    assert manifest.summary["train"]["dropped_images"] == 0


def test_tar_files_move_and_are_read_by_loader_processes(
    drawn: Path, dataset: Path, packed: Path, tmp_path: Path
) -> None:
    prepare(from_tar(drawn, packed), tmp_path / "dataset")
    moved = shutil.move(packed, tmp_path / "elsewhere")
    with pytest.raises(UserError, match="the image folder of split 'train' does not exist"):
        Split.open(tmp_path / "dataset", "train")
    (tmp_path / "dataset" / "locations.json").write_text(json.dumps(dict.fromkeys(("train", "val"), str(moved))))
    preprocess = PreprocessConfig(short_side=64, long_side=96)
    splits = [Split.open(folder, "train") for folder in (tmp_path / "dataset", dataset)]
    batches, others = (
        list(EvalLoader(split, whole_views(split, [[3, 1, 2], [0]], preprocess), workers=workers))
        for split, workers in zip(splits, (2, 0), strict=True)
    )
    assert [batch.image_ids for batch in batches] == [batch.image_ids for batch in others]
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(batches, others, strict=True))


def test_sources_of_tar_files_and_of_files_go_together(drawn: Path, packed: Path, tmp_path: Path) -> None:
    """Shards of two sources may have the same name; an image must be read from the shard of its source."""
    second = tmp_path / "second"
    second.mkdir()
    pack(second / "00000.tar", sorted((drawn / "val" / "images").iterdir()))
    sources = [
        SourceConfig(annotations=str(drawn / split / ANNOTATIONS), images=str(images))
        for split, images in (("train", packed), ("val", second), ("val", drawn / "val" / "images"))
    ]
    prepare(PrepareConfig(train=tuple(sources), val=(sources[1],)), tmp_path / "dataset")
    split = Split.open(tmp_path / "dataset", "train")
    assert [split.source(i) for i in (0, 20, 25)] == [0, 1, 2]
    assert split.path(20) == second / "00000.tar"
    assert not str(split.path(25)).endswith(".tar")
    for i in range(5):
        assert np.array_equal(split.record(20 + i).read(), split.record(25 + i).read())


def test_names_that_several_files_have_are_dropped_and_reported(drawn: Path, packed: Path, tmp_path: Path) -> None:
    """Choosing one of them could give an image the objects of another."""
    first = sorted((drawn / "train" / "images").iterdir())[0]
    pack(packed / "00007.tar", [first])
    prepare(from_tar(drawn, packed), tmp_path / "dataset")
    (found,) = [
        finding
        for finding in read_report(tmp_path / "dataset").splits["train"].findings
        if finding.name == "image_ambiguous"
    ]
    assert list(found.examples) == [f"image 1 '{first.name}' is in 00000.tar and in 00007.tar"]


def test_only_regular_files_with_harmless_names_are_found(tmp_path: Path) -> None:
    """A tar file's names come from outside, too, and a link in it may point anywhere."""
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        add(archive, "./good.jpg")
        add(archive, "folder/../inside.jpg")
        for name in ("/absolute.jpg", "../outside.jpg", "a/../../outside.jpg", "new\nline.jpg", "http://host/a.jpg"):
            add(archive, name)
        add(archive, "link.jpg", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")
        add(archive, "hard.jpg", b"", type=tarfile.LNKTYPE, linkname="good.jpg")
        add(archive, "device.jpg", b"", type=tarfile.CHRTYPE)
        add(archive, "sparse.jpg", b"", type=tarfile.GNUTYPE_SPARSE)
        add(archive, "é" * 60 + "/" + "x" * 150 + ".jpg")
    shards = Shards(tmp_path / "a.tar")
    for name in ("good.jpg", "inside.jpg", "x/../good.jpg", ".\\good.jpg", "é" * 60 + "/" + "x" * 150 + ".jpg"):
        assert shards.read(shards.find(name)) == b"content"
    for name in ("/absolute.jpg", "../outside.jpg", "new\nline.jpg", "http://host/a.jpg", "..\\outside.jpg"):
        with pytest.raises(UnsafePathError):
            shards.find(name)
    for name in ("absolute.jpg", "outside.jpg", "link.jpg", "hard.jpg", "device.jpg", "sparse.jpg", "", "."):
        with pytest.raises(NoFileError):
            shards.find(name)
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        add(archive, "good.jpg", b"newer")
    with pytest.raises(AmbiguousNameError, match=r"is in a\.tar and in a\.tar"):
        Shards(tmp_path / "a.tar").find("good.jpg")


def lie(path: Path, at: int, size: bytes) -> None:
    """Give the header at byte `at` another size, and the check sum for it."""
    content = bytearray(path.read_bytes())
    content[at + 124 : at + 136] = size
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 156] = f"{sum(content[at : at + 512]):06o}\0 ".encode()
    path.write_bytes(content)


def compress(path: Path) -> None:
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "a.jpg", b"a" * 3000)


def write_long_name(path: Path) -> None:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        add(archive, "x" * 300)
    lie(path, 0, b"77777777777\0")


def nest(path: Path) -> None:
    header = tarfile.TarInfo("x")
    header.type = tarfile.XHDTYPE
    path.write_bytes(header.tobuf(tarfile.USTAR_FORMAT) * 5000)


def loop(path: Path) -> None:
    """A sparse file in extended headers whose map says that it has more entries than the tar file has bytes."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        fields = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "a.jpg"}
        add(archive, "a.jpg", b"9999999999\n", pax_headers=fields)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "it is truncated"),
        (lambda path: path.write_bytes(path.read_bytes()[:5700]), "it is truncated|no header at byte"),
        (lambda path: path.write_bytes(b""), "empty file"),
        (lambda path: path.write_bytes(b"\xff\xd8\xff" * 500), "is not a readable tar file"),
        (compress, "is not a readable tar file: .*without compression"),
        (lambda path: lie(path, 0, b"77777777777\0"), "unexpected end of data|it is truncated"),
        (lambda path: lie(path, 0, b"\x80" + struct.pack(">xxxQ", 1 << 50)), "it is truncated|unexpected end of data"),
        (lambda path: lie(path, 0, b"\xff" * 8 + struct.pack(">i", -2048)), "is not a readable tar file"),
        (write_long_name, "a header of 8589934.* bytes"),
        (nest, "is not a readable tar file"),
        (loop, "is not a readable tar file"),
    ],
    ids=["cut", "cut at header", "empty", "jpeg", "gzip", "huge", "huger", "negative", "long name", "nested", "sparse"],
)
def test_tar_files_that_are_none_or_lie_are_user_errors(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    """A header decides how much is read and where the next one is: it must cost neither the memory nor for ever."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(4):
            add(archive, f"{number}.jpg", b"a" * 1500)
    damage(path)
    with pytest.raises(UserError, match=message) as caught:
        Shards(path)
    assert caught.value.where == str(path)


def test_tar_files_outside_the_folder_are_refused(packed: Path, tmp_path: Path) -> None:
    outside = shutil.move(packed / "00001.tar", tmp_path / "outside.tar")
    (packed / "00001.tar").symlink_to(outside)
    with pytest.raises(UserError, match="leads out of the image folder"):
        Shards(packed)


def test_a_tar_file_next_to_images_is_no_shard(tmp_path: Path) -> None:
    """Who keeps the download beside what came out of it means the images."""
    (tmp_path / "images.tar").touch()
    assert is_sharded(tmp_path)
    assert is_sharded(tmp_path / "images.tar")
    (tmp_path / "train").mkdir()
    assert not is_sharded(tmp_path)
    (tmp_path / "train" / "a.tar").touch()
    (tmp_path / "train" / "a.JPG").touch()
    assert not is_sharded(tmp_path / "train")


def test_a_tar_file_that_was_packed_again_gives_no_other_images(drawn: Path, packed: Path, tmp_path: Path) -> None:
    """Other images, or parts of them, are at the stored offsets: training would use them with wrong objects."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(4):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(images / f"{number}.bmp")
    content = json.loads((drawn / "train" / ANNOTATIONS).read_text())
    content["images"] = [{"id": k, "file_name": f"{k}.bmp", "width": 64, "height": 48} for k in range(4)]
    content["annotations"] = [
        {
            "id": k + 1,
            "image_id": k,
            "category_id": content["categories"][0]["id"],
            "bbox": [1, 1, 20, 20],
            "iscrowd": 0,
        }
        for k in range(4)
    ]
    (tmp_path / "a.json").write_text(json.dumps(content))
    tar = tmp_path / "a.tar"
    pack(tar, sorted(images.iterdir()))
    annotated = SourceConfig(annotations=str(tmp_path / "a.json"), images=str(tar))
    prepare(PrepareConfig(train=(annotated,), val=(annotated,)), tmp_path / "dataset")
    split, size = Split.open(tmp_path / "dataset", "train"), tar.stat().st_size
    assert split.record(1).read()[0, 0, 0] == 1
    pack(tar, sorted(images.iterdir(), reverse=True))
    assert tar.stat().st_size == size
    for i in range(4):
        with pytest.raises(BadImageError, match=r"'\d.bmp' in .*a\.tar: has other content than when the dataset"):
            split.record(i).read()
    pack(tar, sorted(images.iterdir()) * 2)
    assert split.record(1).read()[0, 0, 0] == 1, "members that were appended change nothing"
    tar.write_bytes(tar.read_bytes()[:2000])
    with pytest.raises(BadImageError, match="has other content"):
        split.record(1).read()


def test_tar_files_joined_to_one_are_refused(tmp_path: Path) -> None:
    """Readers stop at the first one's end mark, and the images of all others would be missing."""
    for name in "ab":
        with tarfile.open(tmp_path / f"{name}.tar", "w") as archive:
            add(archive, f"{name}.jpg")
    joined = tmp_path / "joined.tar"
    joined.write_bytes(b"".join((tmp_path / f"{name}.tar").read_bytes() for name in "ab"))
    with pytest.raises(UserError, match=r"has content after its end, as tar files joined by `cat` .*tar --concatenate"):
        Shards(joined)
    padded = tmp_path / "padded.tar"
    padded.write_bytes((tmp_path / "a.tar").read_bytes().ljust(3 << 20, b"\0"))
    assert Shards(padded).find("a.jpg").file_size == len(b"content")


def test_a_pipe_is_not_waited_for(packed: Path) -> None:
    """Opened, it waits for somebody to write into it, for ever."""
    os.mkfifo(packed / "pipe.tar")
    with pytest.raises(UserError, match=r"is not a regular file") as caught:
        Shards(packed)
    assert caught.value.where == str(packed / "pipe.tar")


def test_a_pipe_instead_of_a_tar_file_is_not_waited_for(tmp_path: Path) -> None:
    """Training would hang silently. Tested in a separate process, which can be killed if it does."""
    os.mkfifo(tmp_path / "a.tar")
    process = multiprocessing.get_context("spawn").Process(target=require_unreadable, args=(tmp_path / "a.tar",))
    process.start()
    process.join(60)
    process.kill()
    process.join()
    assert process.exitcode == 0


def require_unreadable(file: Path) -> None:
    with pytest.raises(OSError, match="seek"):
        read_member(file, Member("a.jpg", "a.tar", 512, 7))


def test_links_that_lead_nowhere_are_user_errors(tmp_path: Path) -> None:
    (tmp_path / "a.tar").symlink_to(tmp_path / "b.tar")
    for target in ("a.tar", "none"):
        (tmp_path / "b.tar").unlink(missing_ok=True)
        (tmp_path / "b.tar").symlink_to(tmp_path / target)
        with pytest.raises(UserError, match="is not a regular file"):
            Shards(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [("a.tar.gz", b"\x1f\x8b", r"neither a folder nor a \.tar file"), ("a.tar", b"", "empty file")],
)
def test_other_archives_are_refused(drawn: Path, tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        prepare(from_tar(drawn, tmp_path / name), tmp_path / "dataset")


def test_only_coco_files_name_members_of_tar_files(packed: Path, tmp_path: Path) -> None:
    (tmp_path / "data.yaml").write_text("names: [a]\ntrain: images\nval: images\n")
    annotated = SourceConfig(annotations=str(tmp_path / "data.yaml"), images=str(packed))
    with pytest.raises(UserError, match="need COCO-format annotations"):
        prepare(PrepareConfig(train=(annotated,), val=(annotated,)), tmp_path / "dataset")
