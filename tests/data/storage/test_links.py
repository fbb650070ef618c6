"""Symbolic links: followed to places that are allowed and to verified objects of a DVC cache, and nowhere else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.data.storage.links import LinkTargets, list_files
from codetr.data.storage.paths import UnsafePathError, resolve_file
from codetr.data.storage.tar import Shards


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """An image folder in a DVC repository."""
    (tmp_path / "repository" / ".dvc").mkdir(parents=True)
    folder = tmp_path / "repository" / "images"
    folder.mkdir()
    return folder


def add_object(cache: Path, content: bytes, *, prefix: str = "files/md5", digest: str | None = None) -> Path:
    digest = digest or hashlib.md5(content, usedforsecurity=False).hexdigest()
    path = cache / prefix / digest[:2] / digest[2:]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("prefix", ["files/md5", "."])
@pytest.mark.parametrize(
    ("config", "text", "cache"),
    [
        ("config", "", "repository/.dvc/cache"),
        ("config", "[core]\n    remote = r\n[cache]\n    type = symlink\n    dir = ../../shared\n", "shared"),
        ("config.local", "[cache]\ndir = {tmp_path}/shared\n['remote \"r\"']\n    url = x\n", "shared"),
        ("config", '[cache]\ndir = "{tmp_path}/with blank"\n', "with blank"),
    ],
)
def test_links_into_the_cache_of_the_repository_are_followed(
    images: Path, tmp_path: Path, config: str, text: str, cache: str, prefix: str
) -> None:
    """Every file that DVC tracks is such a link with `cache.type: symlink`; without them, no image is left."""
    (images.parent / ".dvc" / config).write_text(text.format(tmp_path=tmp_path))
    (images / "a.jpg").symlink_to(add_object(tmp_path / cache, b"image", prefix=prefix))
    assert resolve_file(images, "a.jpg", LinkTargets.of([images])) == "a.jpg"


def test_line_ends_of_text_files_in_old_caches_do_not_count(images: Path) -> None:
    """Before version 3, DVC computed the digest of text files with the line ends of Unix."""
    content = b"a\r\nb\r\n"
    digest = hashlib.md5(content.replace(b"\r\n", b"\n"), usedforsecurity=False).hexdigest()
    (images / "a.txt").symlink_to(add_object(images.parent / ".dvc" / "cache", content, prefix=".", digest=digest))
    assert resolve_file(images, "a.txt", LinkTargets.of([images])) == "a.txt"


def test_a_repository_cannot_call_any_folder_its_cache(images: Path, tmp_path: Path) -> None:
    """The configuration of a repository is untrusted: it could name a folder of secrets, or forge an object."""
    secret = tmp_path / "home" / "key"
    secret.parent.mkdir()
    secret.write_text("secret")
    (images.parent / ".dvc" / "config").write_text(f"[cache]\ndir = {tmp_path}/home\n")
    forged = add_object(tmp_path / "home", b"secret", digest="0" * 32)
    for number, target in enumerate((secret, forged, forged.parent, tmp_path / "home")):
        (images / f"{number}.jpg").symlink_to(target)
        with pytest.raises(UnsafePathError):
            resolve_file(images, f"{number}.jpg", LinkTargets.of([images]))


def test_links_to_allowed_folders_are_followed(images: Path, tmp_path: Path) -> None:
    store, other = tmp_path / "store", tmp_path / "other"
    for folder in (store, other):
        folder.mkdir()
        (folder / "b.jpg").touch()
        (images / folder.name).symlink_to(folder)
    (images / "a.jpg").symlink_to(store / "b.jpg")
    links = LinkTargets.of([images], [store])
    assert resolve_file(images, "a.jpg", links) == "a.jpg"
    assert resolve_file(images, "store/b.jpg", links) == "store/b.jpg"
    for name in ("other/b.jpg", "store/../other/b.jpg", "../../store/b.jpg", str(store / "b.jpg")):
        with pytest.raises(UnsafePathError):
            resolve_file(images, name, links)
    with pytest.raises(UserError, match="no such folder"):
        LinkTargets.of([images], [tmp_path / "missing"])


def test_linked_folders_are_listed_once_and_loops_end(images: Path, tmp_path: Path) -> None:
    """A folder that links to its parent would be listed for ever, and one that may not be followed would be missed."""
    (images / "real").mkdir()
    (images / "real" / "a.jpg").touch()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "b.jpg").touch()
    for name, target in (("alias", images / "real"), ("up", images), ("store", tmp_path / "store"), ("shut", tmp_path)):
        (images / name).symlink_to(target)
    found = list_files(images, links=LinkTargets.of([images], [tmp_path / "store"]))
    assert found.names == ["real/a.jpg", "store/b.jpg"]
    assert found.closed == ["shut"]


def test_a_tar_file_may_be_a_link_to_an_allowed_folder(images: Path, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a.tar").write_bytes(bytes(10240))
    (images / "a.tar").symlink_to(tmp_path / "store" / "a.tar")
    Shards(images, LinkTargets.of([images], [tmp_path / "store"]))
    with pytest.raises(UserError, match="leads out"):
        Shards(images)
