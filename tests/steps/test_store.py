"""The store of results: whole or not there, in a folder and on S3, whatever happens in between."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from codetr.core.errors import RunFailed, UserError
from codetr.core.files import write_text
from codetr.core.manifest import NAME, ORIGIN, Manifest
from codetr.steps.result_key import ResultKey
from codetr.steps.store import MARKER, STORE_VARIABLE, ResultStore, blob_name, chosen_store, record_name
from codetr.storage.folder import FolderStorage
from codetr.storage.s3_client import StorageError

KEY = ResultKey("evaluation", {"model": "sha256:1"}, {"split": "val"}, {"sources": "sha256:2"}, {"numpy": "2.0"}, "cpu")

MakeResult = Callable[..., Path]


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ResultStore:
    """An empty store of each kind."""
    return ResultStore.open(
        str(tmp_path / "store") if request.param == "folder" else request.getfixturevalue("s3_prefix")
    )


@pytest.fixture
def folder_store(tmp_path: Path) -> ResultStore:
    return ResultStore.open(str(tmp_path / "store"))


@pytest.fixture
def make_result(tmp_path: Path) -> MakeResult:
    """Write an evaluation of a few files, one of them in a folder."""

    def make(name: str = "evaluation", text: str = "AP 0.5") -> Path:
        folder = tmp_path / name
        write_text(folder / "metrics.json", text)
        write_text(folder / "plots" / "pr.svg", "<svg/>")
        Manifest.of(folder, "evaluation", summary={"AP": 0.5}).write(folder)
        return folder

    return make


def digest(folder: Path) -> str:
    return Manifest.read(folder, "evaluation", verify=True).digest


def test_a_stored_result_is_restored_with_the_same_digest(
    store: ResultStore, make_result: MakeResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next step would not recognise it; and a person has to see where it came from."""
    monkeypatch.setenv("CODETR_RUN", "retrain-7")
    result = make_result()
    assert store.restore(KEY, tmp_path / "copy") is None
    assert not (tmp_path / "copy").exists()
    assert store.publish(KEY, result, tracking="https://wandb.example/7")
    stored = store.restore(KEY, tmp_path / "copy")
    assert stored is not None
    assert digest(tmp_path / "copy") == digest(result) == stored.manifest
    origin = json.loads((tmp_path / "copy" / ORIGIN).read_text())
    assert origin["key"] == KEY.digest
    assert (origin["run"], origin["tracking"], origin["by"]) == ("retrain-7", "https://wandb.example/7", stored.by)
    assert ORIGIN not in Manifest.read(tmp_path / "copy", "evaluation").files
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_restored_result_can_be_changed_without_changing_the_store(
    store: ResultStore, make_result: MakeResult, tmp_path: Path
) -> None:
    store.publish(KEY, make_result())
    store.restore(KEY, tmp_path / "copy")
    (tmp_path / "copy" / "metrics.json").write_text("edited")
    store.restore(KEY, tmp_path / "other")
    assert digest(tmp_path / "other") == digest(tmp_path / "evaluation")


def test_a_restored_result_replaces_an_earlier_one_as_a_whole(
    folder_store: ResultStore, make_result: MakeResult, tmp_path: Path
) -> None:
    folder_store.publish(KEY, make_result())
    write_text(make_result("copy", "old") / "stale", "x")
    folder_store.restore(KEY, tmp_path / "copy")
    assert not (tmp_path / "copy" / "stale").exists()
    assert digest(tmp_path / "copy") == digest(tmp_path / "evaluation")


def test_the_first_of_two_publishers_is_kept(store: ResultStore, make_result: MakeResult, tmp_path: Path) -> None:
    """On GPUs two trainings of the same inputs differ in the last bits: everyone has to get the same one."""
    results = [make_result(f"evaluation-{number}", f"AP 0.{number}") for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(lambda folder: store.publish(KEY, folder), results))
    assert created.count(True) == 1
    assert store.restore(KEY, tmp_path / "copy")
    assert digest(tmp_path / "copy") == digest(results[created.index(True)])
    assert [store.problem(name) for name in store.names()] == [None]


def test_what_a_killed_publisher_left_is_no_result(store: ResultStore, make_result: MakeResult, tmp_path: Path) -> None:
    """The record comes last: a result without it is not there, and the next publisher completes it."""
    result = make_result()
    store.storage.create(MARKER, b'{"format": 1}')
    for name, file in Manifest.read(result, "evaluation").files.items():
        store.storage.upload(blob_name(file), result / name)
    assert store.restore(KEY, tmp_path / "copy") is None
    assert store.publish(KEY, result)
    assert store.restore(KEY, tmp_path / "copy")


def damage_content(store: ResultStore, result: Path) -> None:
    name = blob_name(Manifest.read(result, "evaluation").files["metrics.json"])
    store.storage.delete(name)
    store.storage.create(name, b"AP 0.9")


def truncate_content(store: ResultStore, result: Path) -> None:
    name = blob_name(Manifest.read(result, "evaluation").files["plots/pr.svg"])
    store.storage.delete(name)
    store.storage.create(name, b"")


def lose_content(store: ResultStore, result: Path) -> None:
    store.storage.delete(blob_name(Manifest.read(result, "evaluation").files["metrics.json"]))


def damage_record(store: ResultStore, result: Path) -> None:
    _replace_record(store, b"{")


def exchange_record(store: ResultStore, result: Path) -> None:
    """A record whose manifest is that of another result."""
    values = json.loads(store.storage.read(record_name(KEY)))
    values["manifest"] = "sha256:" + "0" * 64
    _replace_record(store, json.dumps(values).encode())


def lead_out(store: ResultStore, result: Path) -> None:
    """A record that would write outside of the output."""
    values = json.loads(store.storage.read(record_name(KEY)))
    values["files"]["../outside"] = values["files"]["metrics.json"]
    _replace_record(store, json.dumps(values).encode())


def _replace_record(store: ResultStore, content: bytes) -> None:
    store.storage.delete(record_name(KEY))
    store.storage.create(record_name(KEY), content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (damage_content, "another content of metrics.json"),
        (truncate_content, "another content of plots/pr.svg"),
        (lose_content, "lacks the content of metrics.json"),
        (damage_record, "not JSON"),
        (exchange_record, "manifest of another result"),
        (lead_out, r"'\.\./outside', which is outside the folder"),
    ],
)
def test_a_damaged_result_counts_as_not_stored_and_is_replaced(
    store: ResultStore,
    make_result: MakeResult,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[ResultStore, Path], None],
    said: str,
) -> None:
    """A wrong model would be shipped; or every later run would work again, because nothing replaces the damaged one."""
    result = make_result()
    store.publish(KEY, result)
    damage(store, result)
    assert store.problem(record_name(KEY)) is not None
    assert store.restore(KEY, tmp_path / "copy") is None
    assert [record.levelno for record in caplog.records if record.name == "codetr.steps.store"][-1] == logging.WARNING
    assert re.search(said, caplog.text)
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "outside").exists()
    assert store.publish(KEY, result)
    assert store.restore(KEY, tmp_path / "copy")
    assert digest(tmp_path / "copy") == digest(result)


def test_a_changed_output_is_not_stored(
    folder_store: ResultStore, make_result: MakeResult, caplog: pytest.LogCaptureFixture
) -> None:
    """Others would get what the step did not compute."""
    result = make_result()
    (result / "metrics.json").write_text("edited")
    assert not folder_store.publish(KEY, result)
    assert "is not stored" in caplog.text
    assert folder_store.restore(KEY, result.with_name("copy")) is None


def test_a_store_that_cannot_be_written_is_a_warning(
    make_result: MakeResult, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Days of training would end with an error."""
    (tmp_path / "store").write_text("a file")
    assert not ResultStore.open(str(tmp_path / "store")).publish(KEY, make_result())
    assert "is not stored" in caplog.text


class Away(FolderStorage):
    """A storage that does not answer."""

    def read(self, key: str) -> bytes:
        raise RunFailed("does not answer", where="s3://bucket")

    def names(self, prefix: str) -> list[str]:
        raise RunFailed("does not answer", where="s3://bucket")


def test_a_store_that_does_not_answer_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A cache must not make a run less reliable."""
    store = ResultStore(Away(tmp_path))
    assert store.restore(KEY, tmp_path / "copy") is None
    assert not store.has_group("dataset", "sha256:1")
    assert "s3://bucket: does not answer" in caplog.text


def test_a_wrong_address_is_a_mistake_before_the_work(s3_prefix: str, tmp_path: Path) -> None:
    """After a day of training it would be too late to say so."""
    with pytest.raises(StorageError, match="there is no bucket 'elsewhere'"):
        ResultStore.open("s3://elsewhere/store").restore(KEY, tmp_path / "copy")
    with pytest.raises(UserError, match="gs://bucket"):
        chosen_store("gs://bucket")


def test_the_environment_names_the_store_unless_an_option_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(STORE_VARIABLE, raising=False)
    assert chosen_store(None) is None
    monkeypatch.setenv(STORE_VARIABLE, "")
    assert chosen_store(None) is None, "a pipeline without a store sets it empty"
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "store"))
    assert str(chosen_store(None)) == str(tmp_path / "store")
    assert chosen_store("") is None
    assert str(chosen_store("other")) == "other"


def test_equal_files_are_stored_once(folder_store: ResultStore, make_result: MakeResult, tmp_path: Path) -> None:
    folder_store.publish(KEY, make_result())
    before = {entry.key for entry in folder_store.storage.objects("blobs")}
    other = ResultKey("evaluation", {"model": "sha256:3"}, {}, {}, {})
    folder_store.publish(other, tmp_path / "evaluation")
    assert {entry.key for entry in folder_store.storage.objects("blobs")} == before
    shutil.rmtree(tmp_path / "evaluation")
    assert folder_store.restore(other, tmp_path / "copy")
    assert (tmp_path / "copy" / NAME).is_file()


class Dying(FolderStorage):
    """A storage whose process dies at the nth write: before it, or right after it."""

    def __init__(self, root: Path, writes: int, *, after: bool) -> None:
        super().__init__(root)
        self.left, self.after = writes, after

    def create(self, key: str, content: bytes) -> bool:
        return self._counted(lambda: super(Dying, self).create(key, content))

    def upload(self, key: str, file: Path) -> bool:
        return self._counted(lambda: super(Dying, self).upload(key, file))

    def _counted(self, write: Callable[[], bool]) -> bool:
        self.left -= 1
        if self.left < 0 or (self.left == 0 and not self.after):
            raise KeyboardInterrupt
        created = write()
        if self.left == 0:
            raise KeyboardInterrupt
        return created


@given(writes=st.integers(1, 6), after=st.booleans())
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_publisher_that_dies_at_any_moment_leaves_a_whole_result_or_none(
    writes: int, after: bool, make_result: MakeResult, tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, result = tmp_path_factory.mktemp("dying"), make_result()
    with suppress(KeyboardInterrupt):
        ResultStore(Dying(root / "store", writes, after=after)).publish(KEY, result)
    store = ResultStore.open(str(root / "store"))
    found = store.restore(KEY, root / "copy")
    assert store.publish(KEY, result) == (found is None)
    assert store.restore(KEY, root / "copy")
    assert digest(root / "copy") == digest(result)


def test_a_folder_with_other_content_is_no_store(make_result: MakeResult, tmp_path: Path) -> None:
    """Cleaning it up would delete files of something else, such as the blobs of another cache."""
    write_text(tmp_path / "cache" / "blobs" / "ab" / "content", "precious")
    store = ResultStore.open(str(tmp_path / "cache"))
    for use in (lambda: store.restore(KEY, tmp_path / "copy"), lambda: list(store.names()), store.require):
        with pytest.raises(UserError, match="cache: holds 'blobs' and is no store"):
            use()
    assert not store.publish(KEY, make_result())
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["blobs"]
    with pytest.raises(UserError, match="there is no store of results"):
        ResultStore.open(str(tmp_path / "none")).require()


def test_a_store_of_a_later_release_is_refused(store: ResultStore, tmp_path: Path) -> None:
    store.storage.create(MARKER, b'{"format": 2}')
    with pytest.raises(UserError, match="does not describe a store of this version"):
        store.restore(KEY, tmp_path / "copy")
