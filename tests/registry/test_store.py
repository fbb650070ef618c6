"""Versions, aliases and the journal, alone and with several processes at once."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from codetr.core.errors import RunFailed, UserError
from codetr.core.files import sha256_json
from codetr.core.manifest import Manifest
from codetr.core.system.temporaries import machine
from codetr.registry.promotion import promote_if_better
from codetr.registry.store import Registry
from codetr.storage.folder import FolderStorage
from tests.support.registry.registry_folders import Candidate, MakeCandidate


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry.open(tmp_path / "registry", create=True)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_version_is_a_verified_copy_addressed_by_both_manifests(
    registry: Registry, make_candidate: MakeCandidate
) -> None:
    candidate = make_candidate()
    version = registry.add(*candidate)
    manifests = {kind: Manifest.read(getattr(candidate, kind), kind).digest for kind in ("model", "evaluation")}
    assert version.name == "v1"
    assert version.digest == sha256_json(manifests)
    for kind in ("model", "evaluation"):
        assert tree(registry.folder(version, kind)) == tree(getattr(candidate, kind))


def test_changing_the_original_does_not_change_the_version(registry: Registry, make_candidate: MakeCandidate) -> None:
    """A hard link would pass every other test, and a training could overwrite a registered model."""
    candidate = make_candidate()
    version = registry.add(*candidate)
    with (candidate.model / "model.safetensors").open("r+") as stream:
        stream.write("other")
    assert (registry.folder(version, "model") / "model.safetensors").read_text() == "w"


def test_the_same_content_is_the_same_version(registry: Registry, make_candidate: MakeCandidate) -> None:
    first = registry.add(*make_candidate("a"))
    registry.add(*make_candidate("b"))
    assert registry.add(*make_candidate("a")) == first
    assert [version.name for version in registry.versions()] == ["v1", "v2"]


def test_a_changed_file_is_refused_and_nothing_is_registered(registry: Registry, make_candidate: MakeCandidate) -> None:
    candidate = make_candidate()
    (candidate.model / "model.safetensors").write_text("tampered")
    with pytest.raises(UserError, match="differs from the digest"):
        registry.add(*candidate)
    assert registry.versions() == []
    assert registry.storage.names("content") == []


def test_a_manifest_that_names_files_outside_its_folder_is_refused(
    registry: Registry, make_candidate: MakeCandidate, tmp_path: Path
) -> None:
    """Manifests are read from outside; a listed name must not lead a copy out of the folder."""
    candidate = make_candidate()
    (tmp_path / "work" / "secret").write_text("secret")
    manifest = Manifest.read(candidate.model, "model")
    path = "../../secret"
    manifest.model_copy(update={"files": {**manifest.files, path: "sha256:0"}}).write(candidate.model)
    with pytest.raises(UserError, match="outside the folder"):
        registry.add(*candidate)


def test_damaged_content_is_noticed(registry: Registry, make_candidate: MakeCandidate) -> None:
    version = registry.add(*make_candidate())
    file = registry.folder(version, "model") / "model.safetensors"
    file.chmod(0o644)
    file.write_text("bit rot")
    with pytest.raises(UserError, match="differs from the digest"):
        registry.folder(version, "model")
    with pytest.raises(UserError, match="differs from the digest"):
        registry.add(*make_candidate())


def test_content_of_a_registration_that_was_killed_is_used_by_the_next(
    registry: Registry, make_candidate: MakeCandidate
) -> None:
    """The content is added before the number; a kill between the two must not block that content for ever."""
    version = registry.add(*make_candidate())
    (registry.storage.root / "versions" / "000001.json").unlink()
    assert registry.versions() == []
    assert registry.add(*make_candidate()).digest == version.digest


def test_versions_are_found_by_name_alias_and_digest(registry: Registry, make_candidate: MakeCandidate) -> None:
    first, second = registry.add(*make_candidate("a")), registry.add(*make_candidate("b"))
    promote_if_better(registry, first)
    assert registry.version("v2") == second
    assert registry.version("champion") == first
    assert registry.version(second.digest[7:17]) == second
    with pytest.raises(UserError, match=r"no version is 'previous'"):
        registry.version("previous")
    with pytest.raises(UserError, match=r"no version 'v9'.*Versions: v1, v2"):
        registry.version("v9")


def test_only_a_registry_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no registry"):
        Registry.open(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_text("")
    with pytest.raises(UserError, match="is not a registry"):
        Registry.open(tmp_path / "photos", create=True)
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "registry.json").write_text('{"format": 2}')
    with pytest.raises(UserError, match="has format 2"):
        Registry.open(tmp_path / "later")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be"):
        Registry.open(tmp_path / "file", create=True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"number": 1}', "null"])
def test_a_damaged_record_is_a_clear_error(registry: Registry, make_candidate: MakeCandidate, text: str) -> None:
    registry.add(*make_candidate())
    path = registry.storage.root / "versions" / "000001.json"
    path.chmod(0o644)
    path.write_text(text)
    with pytest.raises(UserError, match=r"versions/000001.json"):
        registry.versions()


def test_a_record_under_a_wrong_number_is_noticed(registry: Registry, make_candidate: MakeCandidate) -> None:
    registry.add(*make_candidate())
    folder = registry.storage.root / "versions"
    shutil.copy(folder / "000001.json", folder / "000002.json")
    with pytest.raises(UserError, match="contains number 1"):
        registry.versions()


class Replaced(FolderStorage):
    """A storage that copies other files than those that were checked."""

    other: Path

    def add_folder(self, key: str, files: Mapping[str, Path]) -> None:
        model = {name: path for name, path in files.items() if not name.startswith("evaluation/")}
        super().add_folder(key, {**files, **{name: self.other / Path(name).name for name in model}})


def test_a_model_that_is_replaced_while_it_is_copied_is_not_registered(
    registry: Registry, make_candidate: MakeCandidate
) -> None:
    """Another training may publish to the same folder: the evaluation would be that of other weights."""
    storage = Replaced(registry.storage.root)
    storage.other = make_candidate("other").model
    with pytest.raises(UserError, match="model: does not match its digest"):
        Registry(storage).add(*make_candidate())
    assert registry.versions() == []


def test_content_of_another_version_is_noticed(registry: Registry, make_candidate: MakeCandidate) -> None:
    """Each folder is sound, so that digests of files do not show it."""
    first, second = (registry.add(*make_candidate(weights)) for weights in "ab")
    folders = [registry.folder(version, "model").parent for version in (first, second)]
    shutil.rmtree(folders[0])
    shutil.copytree(folders[1], folders[0])
    with pytest.raises(UserError, match="is not the model that was registered as v1"):
        registry.folder(first, "model")


def test_a_user_without_a_name_is_known_by_number(
    registry: Registry, make_candidate: MakeCandidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in containers that run as any user; the pipeline would fail at its last step."""

    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", unknown)
    assert registry.add(*make_candidate()).by.startswith(f"{os.getuid()}@")


PROCESS = """
import sys, time
from pathlib import Path
from codetr.registry.promotion import promote_if_better
from codetr.storage.folder import FolderStorage
from codetr.registry.store import Registry

root, start, *candidates = sys.argv[1:]
time.sleep(max(0, float(start) - time.time()))
registry = Registry.open(Path(root), create=True)
for candidate in candidates:
    version = registry.add(Path(candidate) / "model", Path(candidate) / "evaluation")
    verdict = promote_if_better(registry, version)
    print(version.name, version.digest, verdict.promoted)
"""


def run_together(root: Path, candidates_of_processes: list[list[Candidate]]) -> list[list[list[str]]]:
    """Register in as many processes at the same moment; return the lines that each printed, split into words."""
    start = time.time() + 1.5
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(root), str(start), *(str(c.model.parent) for c in candidates)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for candidates in candidates_of_processes
    ]
    outputs = []
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        outputs.append([line.split() for line in out.splitlines()])
    return outputs


@pytest.mark.process
def test_processes_that_register_at_once_all_succeed_with_different_numbers(
    tmp_path: Path, make_candidate: MakeCandidate
) -> None:
    """A number given twice, or a lost promotion, would show here: 4 processes, 5 models each, best AP known."""
    groups = [[make_candidate(f"m{p}-{k}", round(0.1 + 0.01 * (5 * k + p), 3)) for k in range(5)] for p in range(4)]
    outputs = run_together(tmp_path / "registry", groups)
    names = [line[0] for lines in outputs for line in lines]
    assert sorted(names, key=lambda name: int(name[1:])) == [f"v{number}" for number in range(1, 21)]
    registry = Registry.open(tmp_path / "registry")
    best = max(float(Manifest.read(c.evaluation, "evaluation").summary["AP"]) for group in groups for c in group)
    champion = registry.folder(registry.version("champion"), "evaluation")
    assert Manifest.read(champion, "evaluation").summary["AP"] == best
    journal = registry.journal()
    assert [entry.serial for entry in journal] == list(range(1, len(journal) + 1))
    for before, after in itertools.pairwise(journal):
        assert after.before == before.after
    promotions = [entry.verdict for entry in journal if entry.verdict and entry.action == "promote"]
    values = [verdict.challenger or 0.0 for verdict in promotions]
    assert values == sorted(values)
    assert not [name for name in os.listdir(registry.storage.root / "content") if name.startswith(".")]


@pytest.mark.process
def test_processes_that_register_the_same_make_one_version(tmp_path: Path, make_candidate: MakeCandidate) -> None:
    outputs = run_together(tmp_path / "registry", [[make_candidate("same")]] * 4)
    assert len({tuple(line) for lines in outputs for line in lines}) == 1
    assert [version.name for version in Registry.open(tmp_path / "registry").versions()] == ["v1"]


def test_a_full_disk_is_a_message_and_leaves_no_record(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be a traceback, or a number with half a record."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunFailed, match="cannot be written: No space left"):
        registry.storage.create("journal/000001.json", b"{}")
    assert os.listdir(registry.storage.root / "journal") == []


def test_records_are_never_rewritten(registry: Registry, make_candidate: MakeCandidate) -> None:
    """Promotions, refusals and rollbacks only add files."""
    seen: dict[str, bytes] = {}
    for action in range(4):
        if action < 3:
            promote_if_better(registry, registry.add(*make_candidate(f"m{action}", [0.4, 0.3, 0.5][action])))
        else:
            registry.rollback(why="?")
        now = tree(registry.storage.root)
        assert seen.items() <= now.items()
        seen = now
    assert json.loads(seen["registry.json"]) == {"format": 1}


@pytest.mark.parametrize("kind", ["versions", "journal"])
@pytest.mark.parametrize("missing", [1, 2])
def test_a_missing_record_is_an_error_and_not_an_endless_loop(
    registry: Registry, make_candidate: MakeCandidate, kind: str, missing: int
) -> None:
    """The next number would be taken, and a registration would try it for ever."""
    for weights in "abc":
        version = registry.add(*make_candidate(weights, ap=ord(weights) / 200))
        promote_if_better(registry, version)
    (registry.storage.root / kind / f"00000{missing}.json").unlink()
    with pytest.raises(UserError, match=f"{kind}: the record 00000{missing}.json is missing.*backup"):
        promote_if_better(registry, registry.add(*make_candidate("d", ap=0.9)))
    with pytest.raises(UserError, match="is missing"):
        registry.version("champion")


@pytest.mark.parametrize("name", ["notes.txt", "3.json", "1.json"])
def test_a_file_among_the_records_is_named(registry: Registry, make_candidate: MakeCandidate, name: str) -> None:
    registry.add(*make_candidate("a"))
    (registry.storage.root / "versions" / name).write_text("{}")
    with pytest.raises(UserError, match=f"holds '{name}', which is no record"):
        registry.versions()


@pytest.mark.parametrize("key", ["registry.json", "versions/000001.json", "journal/000001.json"])
def test_a_pipe_instead_of_a_record_is_an_error(registry: Registry, key: str) -> None:
    """Reading a pipe that nobody writes never ends."""
    path = registry.storage.root / key
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(UserError, match="not a regular file"):
        Registry.open(registry.storage.root).version("v1")


def test_what_killed_writers_left_is_removed(registry: Registry, make_candidate: MakeCandidate) -> None:
    """It has the size of the weights."""
    registry.add(*make_candidate("a"))
    for folder in ("versions", "content"):
        (registry.storage.root / folder / f".x.{machine()}-abcdefgh.tmp").mkdir()
        (registry.storage.root / folder / f".x.{machine()}-abcdefgh.tmp" / "weights").write_text("w")
    registry.add(*make_candidate("b"))
    assert not list(registry.storage.root.rglob("*.tmp"))
