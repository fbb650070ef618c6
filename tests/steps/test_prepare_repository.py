"""prepare from a DVC repository: the files of a revision, wherever the dataset goes, or an error that says why."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.core.manifest import ORIGIN, Manifest
from codetr.data.config import SourceConfig
from codetr.data.dataset.split import Split
from codetr.data.ingest.config import PrepareConfig
from codetr.data.synthetic import ANNOTATIONS, draw_sample_data
from codetr.steps.prepare import prepare
from codetr.steps.store import ResultStore
from tests.support.data.dataset_trees import write_voc, write_yolo
from tests.support.data.sources import edit, source


def run(*command: str, cwd: Path) -> str:
    return subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def dvc_drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dvc") / "drawn"
    draw_sample_data(folder, 10, seed=5, sides=(48, 64))
    content = json.loads((folder / "val" / ANNOTATIONS).read_text())
    for write, name in ((write_voc, "voc"), (write_yolo, "yolo")):
        write(content, folder / "val" / "images", folder / name, "train")
    return folder


@pytest.fixture(scope="module")
def repository(dvc_drawn: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A Git repository with the data under DVC: version v1 with half of the training annotations, then all of them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield make_repository(dvc_drawn, tmp_path_factory.mktemp("dvc"), monkeypatch)


def make_repository(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{variable}_NAME", "tester")
        monkeypatch.setenv(f"GIT_{variable}_EMAIL", "tester@example.org")
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    for variable in ("HOME", "DVC_GLOBAL_CONFIG_DIR", "DVC_SYSTEM_CONFIG_DIR", "DVC_SITE_CACHE_DIR"):
        (tmp_path / "home").mkdir(exist_ok=True)
        monkeypatch.setenv(variable, str(tmp_path / "home"))
    folder = tmp_path / "repository"
    shutil.copytree(drawn, folder / "data")
    complete = (folder / "data" / "train" / ANNOTATIONS).read_text()

    def halve(content: dict[str, Any]) -> None:
        del content["annotations"][len(content["annotations"]) // 2 :]

    edit(folder / "data" / "train", halve)
    run("git", "init", "-q", "-b", "main", cwd=folder)
    dvc = (shutil.which("dvc", path=str(Path(sys.executable).parent)) or "dvc",)
    run(*dvc, "init", "-q", cwd=folder)
    run(*dvc, "add", "-q", "data", cwd=folder)
    run("git", "add", "-A", cwd=folder)
    run("git", "commit", "-qm", "half", cwd=folder)
    run("git", "tag", "v1", cwd=folder)
    (folder / "data" / "train" / ANNOTATIONS).write_text(complete)
    run(*dvc, "add", "-q", "data", cwd=folder)
    run("git", "commit", "-qam", "all", cwd=folder)
    return folder


def in_repository(repository: Path, rev: str | None, **changes: str) -> PrepareConfig:
    def of(split: str) -> SourceConfig:
        values = {"annotations": f"data/{split}/{ANNOTATIONS}", "images": f"data/{split}/images"}
        return SourceConfig.model_validate({**values, "repo": str(repository), "rev": rev, **changes})

    return PrepareConfig(train=(of("train"),), val=(of("val"),))


def test_dvc_repository_at_a_revision(repository: Path, dvc_drawn: Path, tmp_path: Path) -> None:
    """Every revision has different annotations, and the dataset is complete without the repository."""
    original = json.loads((dvc_drawn / "train" / ANNOTATIONS).read_text())["annotations"]
    copy = tmp_path / "repository"
    shutil.copytree(repository, copy)
    repository = copy
    prepare(in_repository(repository, "v1"), tmp_path / "half")
    prepare(in_repository(repository, "main"), tmp_path / "all")
    plain = prepare(
        PrepareConfig(train=(source(dvc_drawn / "train"),), val=(source(dvc_drawn / "val"),)), tmp_path / "plain"
    )
    fetched = Manifest.read(tmp_path / "all", "dataset", verify=True)
    assert fetched.inputs == plain.inputs
    shutil.rmtree(repository)
    (tmp_path / "all").rename(tmp_path / "moved")
    assert Split.open(tmp_path / "half", "train").to_coco()["annotations"] == original[: len(original) // 2]
    split = Split.open(tmp_path / "moved", "train")
    assert split.to_coco()["annotations"] == original
    assert split.record(0).read().shape[2] == 3


def test_voc_and_yolo_come_from_a_repository_too(
    repository: Path, dvc_drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a folder that is named relative to the current one, as it usually is."""
    monkeypatch.chdir(tmp_path)
    voc = SourceConfig(annotations="data/voc", repo=str(repository), rev="main")
    yolo = SourceConfig(annotations="data/yolo/data.yaml", repo=str(repository), rev="main")
    listed = voc.model_copy(update={"annotations": "data/voc/ImageSets/Main/train.txt"})
    fetched = prepare(PrepareConfig(train=(voc, yolo), val=(listed,), max_leaked_images=1), Path("dataset"))
    (tmp_path / "dataset").rename(tmp_path / "moved")
    split = Split.open(tmp_path / "moved", "train")
    assert all(Path(str(split.path(i))).is_relative_to(tmp_path / "moved") for i in range(len(split)))
    assert split.record(len(split) - 1).read().shape[2] == 3
    names = ("voc", "yolo/data.yaml", "voc/ImageSets/Main/train.txt")
    *train, val = (SourceConfig(annotations=str(dvc_drawn / name)) for name in names)
    assert (
        prepare(PrepareConfig(train=tuple(train), val=(val,), max_leaked_images=1), tmp_path / "plain").digest
        == fetched.digest
    )


@pytest.mark.parametrize(
    ("rev", "changes", "message"),
    [
        ("v9", {}, "v9"),
        ("v1", {"annotations": "data/nowhere.json"}, "'data/nowhere.json' cannot be fetched"),
        ("v1", {"images": "../data"}, "must be relative to the repository and inside it"),
        ("v1", {"repo": "/nowhere/repository"}, "/nowhere/repository: no such repository"),
    ],
)
def test_dvc_mistakes_are_explained(
    repository: Path, tmp_path: Path, rev: str, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UserError) as caught:
        prepare(in_repository(repository, rev, **changes), tmp_path / "dataset")
    assert message in str(caught.value)
    assert not (tmp_path / "dataset").exists()
    assert not list(tmp_path.glob(".dataset*"))


@pytest.mark.parametrize("where", ["file", "folder", "chain"])
@pytest.mark.parametrize("tracked", [True, False])
def test_links_out_of_a_repository_are_not_copied(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, tracked: bool
) -> None:
    """Without a revision DVC copies what links lead to: a repository could fetch any file of the machine."""
    secret = tmp_path / "secret" / "key.json"
    secret.parent.mkdir()
    secret.write_text("{}")
    copy = tmp_path / "copy"
    shutil.copytree(repository, copy)
    if not tracked:
        shutil.rmtree(copy / ".dvc")
    images = copy / "data" / "val" / "images"
    if where == "chain":
        (images / "inner").symlink_to(images / "outer")
        (images / "outer").symlink_to(secret)
    else:
        (images / "link").symlink_to(secret if where == "file" else secret.parent)
    with pytest.raises(UserError, match="leads out of the repository"):
        prepare(in_repository(copy, None), tmp_path / "dataset")
    # DVC finds the repository of a folder in it, and reads the paths relative to that.
    if tracked:
        (copy / "inner").mkdir()
        with pytest.raises(UserError, match="leads out of the repository"):
            prepare(in_repository(copy / "inner", None), tmp_path / "dataset")
    assert not (tmp_path / "dataset").exists()


def test_a_stored_dataset_reads_the_files_that_were_fetched(repository: Path, dvc_drawn: Path, tmp_path: Path) -> None:
    """Fetched images are in the dataset folder, and the stored result does not have them."""
    store = ResultStore.open(str(tmp_path / "store"))
    files = SourceConfig(
        repo=str(repository), rev="main", annotations=f"data/train/{ANNOTATIONS}", images="data/train/images"
    )
    config = PrepareConfig(train=files)
    made = prepare(config, tmp_path / "made", store=store)
    assert prepare(config, tmp_path / "found", store=store).digest == made.digest
    assert (tmp_path / "found" / ORIGIN).is_file()
    shutil.rmtree(tmp_path / "made")
    split = Split.open(tmp_path / "found", "train")
    assert split.record(0).read().shape[:2] == tuple(split.sizes[0])
    # What a person has on a disk is the same.
    shutil.copytree(dvc_drawn, tmp_path / "disk")
    prepare(PrepareConfig(train=source(tmp_path / "disk" / "train")), tmp_path / "local", store=store)
    assert (tmp_path / "local" / ORIGIN).is_file()
