"""Predictions exchanged through files: each arrives exactly once, whatever an earlier run left there."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from codetr.core.array_files import write_arrays
from codetr.core.errors import UserError
from codetr.core.system.temporaries import machine
from codetr.evaluation.collect.parts import PartWriter, begin, gather
from codetr.inference.coco_results import ExportedDetections

NOTHING = ExportedDetections(np.zeros(0, np.int64), np.zeros((0, 4)), np.zeros(0))


def write(folder: Path, *batches: int, masks: bool = False) -> Path:
    """A file with these batches, of an image with one detection each; its path."""
    writer = PartWriter(folder)
    for k in batches:
        more: tuple[Any, ...] = (np.array([0.5]), [{"size": [4, 5], "counts": "d0"}]) if masks else ()
        writer.add(k, [(k, ExportedDetections(np.array([k]), np.array([[k, 0, 1, 1.5]]), np.array([0.1 * k]), *more))])
    writer.flush()
    return folder / f"batch-{batches[0]:08d}.safetensors"


def work(folder: Path, lines: list[str] | None = None, batches: int = 6) -> set[int]:
    return begin(folder, "key", batches, print if lines is None else lines.append)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in which batches 0 and 1, and 2 and 3 are done."""
    work(tmp_path / "work")
    write(tmp_path / "work", 0, 1)
    write(tmp_path / "work", 2, 3)
    return tmp_path / "work"


def test_masks_come_back_from_the_files_as_they_were(tmp_path: Path) -> None:
    """A code cut at another position is another mask, or not a mask."""
    codes = [{"size": [4, 5], "counts": counts} for counts in ("04`0", "d0", "52:1")]
    boxes, scores, one = np.arange(12.0).reshape(3, 4), np.array([0.9, 0.8, 0.7]), np.array([0.1, 0.2, 0.3])
    work(tmp_path / "work")
    writer = PartWriter(tmp_path / "work")
    labels = np.array([1, 0, 1])
    writer.add(1, [(1, ExportedDetections(labels[:1], boxes[:1], scores[:1], one[:1], codes[:1]))])
    writer.flush()
    writer.add(0, [(0, ExportedDetections(labels[1:], boxes[1:], scores[1:], one[1:], codes[1:]))])
    writer.flush()
    found = gather(tmp_path / "work", 2)
    assert found.image.tolist() == [0, 0, 1]
    assert found.segmentations is not None
    assert list(found.segmentations) == [codes[1], codes[2], codes[0]]
    assert found.mask_score is not None
    assert found.mask_score.tolist() == [0.2, 0.3, 0.1]


def test_finished_batches_are_not_computed_again(folder: Path) -> None:
    lines: list[str] = []
    assert work(folder, lines) == {0, 1, 2, 3}
    assert lines == []
    write(folder, 4)
    write(folder, 5)
    assert gather(folder, 6).image.tolist() == [0, 1, 2, 3, 4, 5]


def test_files_are_written_before_they_get_large(tmp_path: Path) -> None:
    """A fast processor collects more in half a minute than memory should hold."""
    work(tmp_path / "work")
    writer = PartWriter(tmp_path / "work")
    for batch in range(6):
        writer.add(batch, [(k, NOTHING) for k in range(100 * batch, 100 * batch + 100)])
    assert len(list((tmp_path / "work").glob("batch-*.safetensors"))) == 2


@pytest.mark.parametrize("batches", [(0, 2), (0, 1, 1), (0, 1, 3)])
def test_a_missing_or_repeated_batch_is_an_error(tmp_path: Path, batches: tuple[int, ...]) -> None:
    """Metrics over fewer images, or over one image twice, look like any other metrics."""
    work(tmp_path / "work", batches=3)
    for n, batch in enumerate(batches):
        write(tmp_path / "work", batch).rename(tmp_path / "work" / f"batch-{n:08d}-of.safetensors")
    with pytest.raises(UserError, match="expected 3"):
        gather(tmp_path / "work", 3)
    # Nor does it keep the next run from its end.
    for k in {0, 1, 2} - work(tmp_path / "work", batches=3):
        write(tmp_path / "work", k)
    assert gather(tmp_path / "work", 3).image.tolist() == [0, 1, 2]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def array(path: Path) -> None:
    with path.open("wb") as stream:
        np.save(stream, np.arange(3))


def archive(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, images=np.arange(2))


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "file").touch()


def changed(path: Path, **arrays: Any) -> None:
    write_arrays(path, {**load_file(path), **arrays})


def of(batches: np.ndarray) -> Callable[[Path], None]:
    return lambda path: changed(path, batches=batches)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "cut": cut,
    "empty": lambda path: path.write_bytes(b""),
    "array": array,
    "folder": directory,
    "other arrays": lambda path: write_arrays(path, {"images": np.arange(2)}),
    "another archive": archive,
    "no batch": of(np.zeros(0, np.int64)),
    "floats": of(np.array([2.0, 3.0])),
    "0-d": of(np.array(2)),
    "a batch twice": of(np.array([2, 2])),
    "done by another": of(np.array([2, 1])),
    "beyond the last": of(np.array([2, 6])),
    "negative": of(np.array([2, -1])),
    "another name": of(np.array([3, 2])),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_an_invalid_file_is_computed_again(folder: Path, kind: str) -> None:
    """Running the same command again must give an evaluation, not the same error each time."""
    DAMAGE[kind](folder / "batch-00000002.safetensors")
    lines: list[str] = []
    assert work(folder, lines) == {0, 1}
    assert len(lines) == 1
    assert "batch-00000002.safetensors" in lines[0]
    assert "detected again" in lines[0]
    write(folder, 2, 3, 4, 5)
    assert gather(folder, 6).image.tolist() == [0, 1, 2, 3, 4, 5]


def test_unfinished_files_of_a_killed_run_are_removed(folder: Path) -> None:
    (folder / f".batch-00000004.safetensors.{machine()}-abcdefgh.tmp").write_bytes(b"PK")
    assert work(folder) == {0, 1, 2, 3}
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("run", [b"", b"{", b"[" * 100_000, b"[1]", b'"key"', b'{"key": "another"}', b"\xff"])
def test_files_of_an_unknown_run_are_not_used(folder: Path, run: bytes) -> None:
    """Detections of other weights, mixed with these, cannot be noticed in any metric."""
    (folder / "run.json").write_bytes(run)
    lines: list[str] = []
    assert work(folder, lines) == set()
    assert [path.name for path in folder.iterdir()] == ["run.json"]
    assert "starting from the beginning" in lines[0]


@pytest.mark.parametrize("key", ["key", None])
def test_a_file_instead_of_the_folder_is_replaced(tmp_path: Path, key: str | None) -> None:
    (tmp_path / "work").write_text("what")
    assert begin(tmp_path / "work", key, 1, print) == set()
    write(tmp_path / "work", 0)
    assert len(gather(tmp_path / "work", 1)) == 1


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file/work"):
        work(tmp_path / "file" / "work")


@pytest.mark.parametrize(
    ("masks", "damage"),
    [
        (False, {"score": np.zeros(3)}),
        (False, {"boxes_xywh": np.zeros((2, 3))}),
        (False, {"label": np.zeros(2)}),
        (True, {"mask_score": np.zeros(1)}),
        (True, {"stops": np.array([2, 99])}),
        (True, {"starts": np.array([-1, 2])}),
        (True, {"sizes": np.zeros((2, 3), np.int64)}),
    ],
    ids=["score", "boxes", "label", "mask_score", "stops", "starts", "sizes"],
)
def test_inconsistent_arrays_are_named_and_computed_again_by_the_next_run(
    tmp_path: Path, masks: bool, damage: dict[str, np.ndarray]
) -> None:
    folder = tmp_path / "work"
    work(folder)
    path = write(folder, 0, 1, masks=masks)
    changed(path, **damage)
    with pytest.raises(UserError, match=r"batch-00000000\.safetensors"):
        gather(folder, 2)
    lines: list[str] = []
    assert work(folder, lines) == set()
    assert "batch-00000000.safetensors" in lines[0]
    assert not path.exists()


def test_masks_in_some_files_only_are_refused(tmp_path: Path) -> None:
    work(tmp_path / "work")
    write(tmp_path / "work", 0, masks=True)
    write(tmp_path / "work", 1)
    with pytest.raises(UserError, match="with masks and others without"):
        gather(tmp_path / "work", 2)


def test_a_removed_folder_is_not_created_again(folder: Path) -> None:
    """The process that removes it has ended: it would remain, with part of the detections."""
    writer = PartWriter(folder)
    writer.add(4, [])
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(UserError, match="work: the folder does not exist any more"):
        writer.flush()
    assert not folder.exists()


def test_a_full_disk_is_named(folder: Path) -> None:
    """A traceback would hide which disk it is. A limit of the size of files fails like a full disk."""
    writer = PartWriter(folder)
    writer.add(4, [])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: .*work/batch-0"):
            writer.flush()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(list(folder.glob("batch-*"))) == 2
