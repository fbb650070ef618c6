"""The file of matches: it is read as it was written, and anything else is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load

from codetr.core.array_files import write_arrays
from codetr.core.errors import UserError
from codetr.evaluation.comparison.match_table import MAX_RANK, MatchTable
from codetr.evaluation.comparison.resampled_metrics import resampled_metrics
from codetr.evaluation.evaluate import evaluate_results
from tests.support.evaluation.evaluation_sets import random_set, sides


def table(*, federated: bool = False, **changes: Any) -> MatchTable:
    ground_truth, found = random_set(0)
    if federated:
        for image in ground_truth["images"]:
            image["neg_category_ids"] = [1, 2, 3, 4]
        for category, group in zip(ground_truth["categories"], "rcf", strict=False):
            category["frequency"] = group
    truth, predictions = sides(ground_truth, found)
    return dataclasses.replace(MatchTable.of(evaluate_results(truth, predictions).matching, truth), **changes)


def equal(one: MatchTable, other: MatchTable) -> bool:
    fields = [field.name for field in dataclasses.fields(MatchTable)]
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in fields)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "matches.safetensors"
    table().write(path)
    return path.read_bytes()


def contents(file: bytes) -> dict[str, np.ndarray]:
    return load(file)


@pytest.mark.parametrize("federated", [False, True])
def test_tables_are_read_as_they_were_written(tmp_path: Path, federated: bool) -> None:
    """Bits that are shifted by one are other detections."""
    original = table(federated=federated)
    assert original.frequency == (("r", "c", "f", None) if federated else (None,) * 4)
    original.write(tmp_path / "a.safetensors")
    original.write(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert equal(MatchTable.read(tmp_path / "a.safetensors"), original)


def test_a_long_class_name_takes_its_length_once(tmp_path: Path) -> None:
    """In an array of texts all are as long as the longest: 1,200 classes of LVIS would take 480 MB for this one."""
    names = ("n" * 100_000, "Größe", "\U0001f600", "")
    table().write(tmp_path / "short.safetensors")
    table(names=names).write(tmp_path / "a.safetensors")
    assert MatchTable.read(tmp_path / "a.safetensors").names == names
    assert (tmp_path / "a.safetensors").stat().st_size < (tmp_path / "short.safetensors").stat().st_size + 101_000


def test_frequencies_count_by_the_rules_of_lvis_alone(tmp_path: Path) -> None:
    """A COCO file may have them, and groups that LVIS does not know; neither can be averaged over."""
    ground_truth, found = random_set(0)
    groups: list[Any] = ["r", "x", [], None]
    for category, group in zip(ground_truth["categories"], groups, strict=True):
        category["frequency"] = group
    truth, predictions = sides(ground_truth, found)
    assert truth.frequency == ("r", None, None, None)
    assert MatchTable.of(evaluate_results(truth, predictions).matching, truth).frequency == (None,) * 4


def classes(**changes: Any) -> np.ndarray:
    values = {"names": ["a", "b", "c", "d"], "frequency": [None] * 4, "federated": False} | changes
    return np.frombuffer(json.dumps(values).encode(), np.uint8)


@pytest.mark.parametrize(
    "damage",
    [
        {"image": np.array([5, 99], np.int32)},
        {"label": np.zeros(1)},
        {"label": np.zeros(1, np.int32)},
        {"gt_label": np.zeros(60, np.int32) + 4},
        {"gt_image": np.zeros(60, np.int32) - 1},
        {"candidates": np.array([10**6], np.int32)},
        {"tp": np.zeros(3, np.uint8)},
        {"tp": np.zeros((4, 10, 1), np.uint8)},
        {"rank": np.zeros((2, 2), np.uint8)},
        {"category_ids": np.zeros((4, 4))},
        {"category_ids": np.array([1, 2, 2, 3])},
        {"category_ids": np.array([2, 1, 3, 4])},
        {"image_ids": np.zeros(12, np.int64)},
        {"image_ids": np.array(3)},
        {"classes": np.frombuffer(b"{", np.uint8)},
        {"classes": classes(names=["a"])},
        {"classes": classes(names=["a", "b", "c", 4])},
        {"classes": classes(names=["a", "b", "c", "\ud800"])},
        {"classes": classes(frequency=[None])},
        {"classes": classes(frequency=["x"] * 4, federated=True)},
        {"classes": classes(frequency=["r"] * 4)},
        {"classes": classes(federated=1)},
        {"classes": np.frombuffer(b"[" * 100_000, np.uint8)},
    ],
    ids=lambda damage: next(iter(damage)),
)
def test_a_file_with_invalid_arrays_is_refused(tmp_path: Path, sound: bytes, damage: dict[str, np.ndarray]) -> None:
    """Indices out of range would fail later, where the error does not name the file."""
    write_arrays(tmp_path / "b.safetensors", {**contents(sound), **damage})
    with pytest.raises(UserError, match=r"b\.safetensors: cannot be read.*`codetr evaluate`"):
        MatchTable.read(tmp_path / "b.safetensors")


def test_impossible_ranks_and_matches_are_refused(tmp_path: Path, sound: bytes) -> None:
    arrays = contents(sound)
    write_arrays(tmp_path / "rank.safetensors", {**arrays, "rank": arrays["rank"] * 0 + MAX_RANK + 1})
    write_arrays(tmp_path / "both.safetensors", {**arrays, "matched_ignored": arrays["tp"]})
    write_arrays(tmp_path / "more.safetensors", {**arrays, "gt_counts": arrays["gt_counts"] * 0})
    for name in ("rank", "both", "more"):
        with pytest.raises(UserError, match=f"{name}.safetensors"):
            MatchTable.read(tmp_path / f"{name}.safetensors")


def test_a_file_of_an_earlier_version_is_refused(tmp_path: Path, sound: bytes) -> None:
    """It was a NumPy archive, or has other arrays; the error says what to do."""
    arrays: dict[str, Any] = contents(sound)
    with (tmp_path / "npz.safetensors").open("wb") as stream:
        np.savez_compressed(stream, **arrays)
    del arrays["classes"]
    write_arrays(tmp_path / "names.safetensors", arrays)
    for name in ("npz", "names"):
        with pytest.raises(UserError, match=rf"{name}\.safetensors: cannot be read.*run `codetr evaluate` again"):
            MatchTable.read(tmp_path / f"{name}.safetensors")


MANY = settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@MANY
@given(st.data())
def test_a_file_with_damaged_bytes_is_read_as_it_was_or_refused(
    tmp_path: Path, sound: bytes, data: st.DataObject
) -> None:
    """Disks and networks flip bits and cut files. A traceback does not say what to do, and a wrong AP says nothing."""
    content = bytearray(sound)
    # The ends of an archive, which say where everything is, more often than what is between them.
    offsets = st.integers(0, len(sound) - 1) | st.integers(len(sound) - 900, len(sound) - 1) | st.integers(0, 60)
    for offset in data.draw(st.lists(offsets, max_size=4)):
        content[offset] = data.draw(st.integers(0, 255))
    if data.draw(st.integers(0, 3)) == 0:
        start, stop = sorted(data.draw(st.tuples(offsets, offsets)))
        del content[start:stop]
    path = tmp_path / "matches.safetensors"
    path.write_bytes(content)
    try:
        found = MatchTable.read(path)
    except UserError:
        return
    assert equal(found, table())


@MANY
@given(st.data())
def test_whatever_is_read_can_be_measured(tmp_path: Path, sound: bytes, data: st.DataObject) -> None:
    """Values of the right type that were changed on purpose, so that the checksum matches."""
    arrays = {name: array.copy() for name, array in contents(sound).items()}
    name = data.draw(st.sampled_from(sorted(arrays)))
    array = arrays[name]
    limits = np.iinfo(array.dtype)
    values = st.sampled_from([0, 1, 3, 4, 11, 12, limits.max, max(limits.min, -1)])
    for _ in range(data.draw(st.integers(1, 3))):
        array.ravel()[data.draw(st.integers(0, array.size - 1))] = data.draw(values)
    arrays[name] = data.draw(st.sampled_from([array, array[:-1], array[:0], np.concatenate([array, array])]))
    write_arrays(tmp_path / "matches.safetensors", arrays)
    try:
        found = MatchTable.read(tmp_path / "matches.safetensors")
    except UserError:
        return
    with np.errstate(all="raise", under="ignore", invalid="ignore"):
        resampled_metrics(found, np.ones((len(found.image_ids), 2), np.int32))
