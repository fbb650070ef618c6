"""A manifest identifies a folder by its content and notices every change."""

from __future__ import annotations

from pathlib import Path

import pytest

from codetr.core.errors import UserError
from codetr.core.files import write_json
from codetr.core.manifest import Manifest, require_output


def make(folder: Path, content: str = "x") -> Manifest:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.txt").write_text(content)
    (folder / "notes").mkdir()
    (folder / "notes" / "b.txt").write_text("not part of it")
    manifest = Manifest.of(folder, "dataset", exclude=("notes",), summary={"images": 3})
    manifest.write(folder)
    return manifest


def test_same_content_same_digest_wherever_it_lies(tmp_path: Path) -> None:
    """Engines that put the folder at different paths must agree on its identity."""
    assert make(tmp_path / "one").digest == make(tmp_path / "two").digest
    assert make(tmp_path / "three", "y").digest != make(tmp_path / "four").digest


def test_round_trip_and_exclusion(tmp_path: Path) -> None:
    written = make(tmp_path / "data")
    assert Manifest.read(tmp_path / "data", "dataset", verify=True) == written
    assert list(written.files) == ["sub/a.txt"]


@pytest.mark.parametrize(("change", "message"), [("edit", "differs from the digest"), ("delete", "but missing")])
def test_a_changed_file_is_noticed(tmp_path: Path, change: str, message: str) -> None:
    make(tmp_path)
    file = tmp_path / "sub" / "a.txt"
    file.write_text("z") if change == "edit" else file.unlink()
    with pytest.raises(UserError, match=message):
        Manifest.read(tmp_path, "dataset", verify=True)


def test_the_wrong_kind_of_folder_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "data")
    with pytest.raises(UserError, match="is a folder of kind 'dataset', expected 'model'"):
        Manifest.read(tmp_path / "data", "model")
    with pytest.raises(UserError, match=r"holds no manifest\.json"):
        Manifest.read(tmp_path, "model")


def test_a_manifest_cannot_point_outside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    manifest = make(tmp_path / "data")
    values = manifest.model_dump(mode="json")
    values["files"]["../secret"] = "sha256:0"
    write_json(tmp_path / "data" / "manifest.json", values)
    with pytest.raises(UserError, match="outside the folder"):
        Manifest.read(tmp_path / "data", "dataset", verify=True)


def test_files_that_are_links_are_verified_by_their_digest(tmp_path: Path) -> None:
    """DVC with `cache.type: symlink` replaces every file of a result by a link into its cache."""
    written = make(tmp_path / "data")
    file = tmp_path / "data" / "sub" / "a.txt"
    file.rename(tmp_path / "object")
    file.symlink_to(tmp_path / "object")
    assert Manifest.read(tmp_path / "data", "dataset", verify=True) == written
    (tmp_path / "object").write_text("other")
    with pytest.raises(UserError, match="differs from the digest"):
        Manifest.read(tmp_path / "data", "dataset", verify=True)


@pytest.mark.parametrize("name", ["../secret", "sub/../../secret", "/etc/passwd", "", ".", "a\0b"])
def test_names_in_a_manifest_are_checked_before_any_file_is(tmp_path: Path, name: str) -> None:
    values = make(tmp_path).model_dump(mode="json")
    values["files"][name] = "sha256:0"
    write_json(tmp_path / "manifest.json", values)
    with pytest.raises(UserError, match="outside the folder"):
        Manifest.read(tmp_path, "dataset")


def test_what_is_no_folder_of_a_step_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is a file, expected a folder of kind 'dataset'"):
        Manifest.read(tmp_path / "file", "dataset")
    with pytest.raises(UserError, match="there is no such folder"):
        Manifest.read(tmp_path / "nowhere", "dataset")
    write_json(tmp_path / "manifest.json", [])
    with pytest.raises(UserError, match="is not a manifest"):
        Manifest.read(tmp_path, "dataset")


def test_only_what_the_same_step_wrote_is_replaced(tmp_path: Path) -> None:
    """A step that replaces any folder deletes somebody's photographs."""
    folder = tmp_path / "data"
    for present in (lambda: None, folder.mkdir, lambda: make(folder), (folder / ".DS_Store").touch):
        present()
        require_output(folder, "dataset", unlisted=["notes"])
    (folder / "photo.jpg").touch()
    with pytest.raises(UserError, match=r"photo\.jpg"):
        require_output(folder, "dataset", unlisted=["notes"])
    require_output(folder, "dataset", unlisted=["notes", "photo.jpg"])
    with pytest.raises(UserError):
        require_output(folder, "model", unlisted=["notes", "photo.jpg"])
