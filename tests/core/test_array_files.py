"""Damaged or hostile files of arrays: nothing but `UserError`, and no more memory than they have bytes."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from codetr.core.array_files import ArraySpec, map_array, read_arrays, write_arrays
from codetr.core.errors import UserError

SPECS = {"flat": ArraySpec(np.int32), "square": ArraySpec(np.float64, ndim=2)}
ARRAYS: dict[str, np.ndarray] = {
    "flat": np.arange(5, dtype=np.int32),
    "square": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}


def array_file(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header_file(header: str, values: bytes = b"") -> bytes:
    """An array file with this header, which no program would write."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + values


def safetensors_file(header: Any, values: bytes = b"") -> bytes:
    """A safetensors file with this header."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + values


def tensor(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def read(path: Path) -> dict[str, np.ndarray]:
    return read_arrays(path, SPECS, hint="Write it again.")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("sound") / "a.safetensors"
    write_arrays(path, ARRAYS)
    return path.read_bytes()


def test_arrays_are_read_as_they_were_written(tmp_path: Path) -> None:
    """An array in Fortran's order, read in C's, would be another one; no values and one value are values too."""
    more = {"empty": np.zeros((0, 4)), "strided": np.arange(10)[::3], "flags": np.array([True, False])}
    specs = {**SPECS, "empty": ArraySpec(float, ndim=2), "strided": ArraySpec(np.int64), "flags": ArraySpec(bool)}
    write_arrays(tmp_path / "a.safetensors", {**ARRAYS, **more})
    found = read_arrays(tmp_path / "a.safetensors", specs, hint="")
    for name, array in {**ARRAYS, **more}.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert np.array_equal(found[name], array)


def test_equal_arrays_give_equal_bytes(tmp_path: Path, sound: bytes) -> None:
    """The digest of a folder must not depend on when it was written or on the order of names."""
    write_arrays(tmp_path / "a.safetensors", dict(reversed(ARRAYS.items())))
    assert (tmp_path / "a.safetensors").read_bytes() == sound


def test_an_unknown_array_is_refused(tmp_path: Path) -> None:
    """A file of another version or program may mean something else."""
    write_arrays(tmp_path / "a.safetensors", {**ARRAYS, "surplus": np.zeros(1)})
    with pytest.raises(UserError, match="unknown array 'surplus'"):
        read(tmp_path / "a.safetensors")


def test_optional_arrays_are_there_together_or_not_at_all(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.safetensors", ARRAYS)
    write_arrays(tmp_path / "b.safetensors", {"flat": ARRAYS["flat"]})
    required, optional = {"flat": SPECS["flat"]}, {"square": SPECS["square"], "more": ArraySpec(bool)}
    assert set(read_arrays(tmp_path / "b.safetensors", required, hint="", optional=optional)) == {"flat"}
    with pytest.raises(UserError, match="no array 'more'"):
        read_arrays(tmp_path / "a.safetensors", required, hint="", optional=optional)


def test_a_claim_of_a_huge_array_takes_no_memory(tmp_path: Path) -> None:
    """A header of a hundred bytes may claim terabytes."""
    header = {"flat": tensor("I32", [1 << 40], 0, 1 << 42), "square": tensor("F64", [1, 1], 1 << 42, (1 << 42) + 8)}
    (tmp_path / "a.safetensors").write_bytes(safetensors_file(header, bytes(16)))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=r"a\.safetensors: cannot be read"):
            read(tmp_path / "a.safetensors")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "flat",
    [
        np.array(3, np.int32),
        np.zeros((2, 2), np.int32),
        np.zeros(5, np.int64),
        np.zeros(5, np.uint32),
        np.zeros(5, np.float32),
    ],
    ids=["0-d", "2-d", "int64", "uint32", "float32"],
)
def test_an_array_of_another_type_or_shape_is_refused(tmp_path: Path, flat: np.ndarray) -> None:
    write_arrays(tmp_path / "a.safetensors", {**ARRAYS, "flat": flat})
    with pytest.raises(UserError, match=r"a\.safetensors: cannot be read: 'flat' is an array .*Write it again"):
        read(tmp_path / "a.safetensors")


def test_objects_cannot_be_written() -> None:
    """Reading them would unpickle them, which runs whatever their author wrote; the format has no such type."""
    with pytest.raises(Exception, match=r"object|dtype|O"):
        save({"flat": np.array([{}], object)})


def test_files_that_are_not_archives_of_arrays_are_refused(tmp_path: Path, sound: bytes) -> None:
    """Truncated, of other formats, or with a header that no program would write: the error names the file."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("flat.npy", array_file(ARRAYS["flat"]))
    square = tensor("F64", [1, 1], 20, 28)
    values = {
        "nothing": b"",
        "text": b"no archive at all",
        "pickle": pickle.dumps(ARRAYS),
        "zip": archive.getvalue(),
        "array": array_file(ARRAYS["flat"]),
        "cut": sound[:-1],
        "cut header": sound[:20],
        "longer": sound + b"\0",
        "flipped": sound[:-1] + bytes([sound[-1] ^ 1]),
        "no checksum": safetensors_file({"flat": tensor("I32", [5], 0, 20), "square": square}, bytes(28)),
        "short": safetensors_file({"flat": tensor("I32", [6], 0, 20), "square": square}, bytes(28)),
        "overlap": safetensors_file(
            {"flat": tensor("I32", [5], 0, 20), "square": tensor("F64", [1, 1], 0, 8)}, bytes(28)
        ),
        "negative": safetensors_file({"flat": tensor("I32", [-1], 0, 20), "square": square}, bytes(28)),
        "overflow": safetensors_file({"flat": tensor("I32", [1 << 62, 8], 0, 0), "square": square}, bytes(28)),
        "unknown type": safetensors_file({"flat": tensor("O", [5], 0, 20), "square": square}, bytes(28)),
        "huge header": (1 << 60).to_bytes(8, "little") + b"{}",
        "not JSON": safetensors_file(b"{"),
        "deep": safetensors_file(b"[" * 100_000),
        "list": safetensors_file([1, 2]),
    }
    for name, content in values.items():
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{name}\.safetensors: cannot be read"):
            read(path)
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(UserError, match=r"folder\.safetensors: is a folder"):
        read(tmp_path / "folder.safetensors")
    with pytest.raises(UserError, match=r"none\.safetensors: no such file"):
        read(tmp_path / "none.safetensors")


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_a_file_with_changed_bytes_is_refused_or_read_as_it_was(
    tmp_path: Path, sound: bytes, data: st.DataObject
) -> None:
    """Disks and networks flip bits; an array that is a little different gives results that are a little different."""
    content = bytearray(sound)
    for position in data.draw(st.lists(st.integers(0, len(sound) - 1), min_size=1, max_size=3)):
        content[position] = data.draw(st.integers(0, 255))
    (tmp_path / "a.safetensors").write_bytes(content)
    try:
        found = read(tmp_path / "a.safetensors")
    except UserError:
        return
    for name, array in ARRAYS.items():
        assert np.array_equal(found[name], array)


@pytest.mark.parametrize("array", [*ARRAYS.values(), np.zeros((0, 4))], ids=["flat", "fortran", "empty"])
def test_an_array_is_mapped_as_it_was_saved(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    found = map_array(tmp_path / "a.npy", hint="")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert np.array_equal(found, array)
    assert not found.flags.writeable


@pytest.mark.parametrize(
    "content",
    [
        array_file(np.array(3, np.int32)),
        array_file(np.array([{}], object)),
        array_file(np.array(["a"])),
        array_file(np.zeros(5))[:-1],
        array_file(np.zeros(5)) + b"\0",
        header_file("{'descr': '<i4', 'fortran_order': False, 'shape': (1000000000000,), }"),
        header_file("{'descr': '<i4', 'fortran_order': False, 'shape': (-1,), }", bytes(4)),
        header_file("{'descr': '<i4', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", bytes(4)),
        header_file("{'descr': (), 'fortran_order': False, 'shape': (1,), }", bytes(4)),
        header_file("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        header_file("{'descr': '<i4', 'fortran_order': False, 'shape': (1,"),
        header_file("{1: 2, 'descr': '<i4', 'fortran_order': False, 'shape': (1,), }", bytes(4)),
        header_file("(" * 5000),
        b"\x93NUMPY\x02\x00",
        b"",
        b"PK",
        pickle.dumps(np.zeros(5)),
    ],
    ids=[
        *("0-d", "object", "text", "cut", "longer", "claim", "negative", "overflow", "dtype", "pointer"),
        *("unclosed", "key", "deep", "version", "empty", "zip", "pickle"),
    ],
)
def test_a_file_that_is_not_the_array_it_claims_is_not_mapped(tmp_path: Path, content: bytes) -> None:
    """NumPy trusts a header; what is behind the end of the file must never be read."""
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npy: cannot be read"):
        map_array(tmp_path / "a.npy", hint="")


def test_an_archive_is_not_mapped(tmp_path: Path) -> None:
    """`numpy.load` would return an archive of arrays, which is not an array."""
    with (tmp_path / "a.npy").open("wb") as stream:
        np.savez(stream, flat=ARRAYS["flat"])
    with pytest.raises(UserError, match=r"a\.npy: cannot be read"):
        map_array(tmp_path / "a.npy", hint="")
