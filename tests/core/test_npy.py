"""Files of arrays that are damaged, or that lie: nothing but `UserError`, and no more memory than they have bytes."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from codetr.core import npy
from codetr.core.errors import UserError
from codetr.core.npy import Layout, map_array, read_archive

LAYOUTS = {"flat": Layout(np.int32), "square": Layout(np.float64, axes=2)}
ARRAYS = {"flat": np.arange(5, dtype=np.int32), "square": np.asfortranarray(np.arange(6.0).reshape(2, 3))}


def array_file(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def header_file(header: str, values: bytes = b"") -> bytes:
    """An array file with this header, which no program would write."""
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + values


def read(path: Path) -> dict[str, np.ndarray]:
    return read_archive(path, LAYOUTS, hint="Write it anew.")


def written(path: Path, flat: bytes, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("flat.npy", flat)
        archive.writestr("square.npy", array_file(ARRAYS["square"]))
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_they_were(tmp_path: Path, save: Any) -> None:
    """Read in the wrong order, an array of Fortran's order would be another one."""
    save(tmp_path / "a.npz", **ARRAYS, empty=np.zeros((0, 4)))
    found = read_archive(tmp_path / "a.npz", {**LAYOUTS, "empty": Layout(float, axes=2)}, hint="")
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array)
    assert found["empty"].shape == (0, 4)


def test_what_was_not_asked_for_is_not_looked_at(tmp_path: Path) -> None:
    """Objects would be unpickled, which runs whatever their author wrote."""
    np.savez(tmp_path / "a.npz", **ARRAYS, surplus=np.array([{}], object))
    assert set(read(tmp_path / "a.npz")) == set(ARRAYS)


def test_optional_arrays_are_there_together_or_not_at_all(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", **ARRAYS)
    np.savez(tmp_path / "b.npz", flat=ARRAYS["flat"])
    several = {"square": LAYOUTS["square"], "more": Layout(bool)}
    assert set(read_archive(tmp_path / "b.npz", {"flat": LAYOUTS["flat"]}, hint="", optional=several)) == {"flat"}
    with pytest.raises(UserError, match="no array 'more'"):
        read_archive(tmp_path / "a.npz", {"flat": LAYOUTS["flat"]}, hint="", optional=several)


def test_what_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kilobyte of zeros becomes a megabyte, and a megabyte more than the machine has."""
    path = written(tmp_path / "a.npz", array_file(np.zeros(1000, np.int32)))
    monkeypatch.setattr(npy, "MOST_BYTES", 4000)
    monkeypatch.setattr(zipfile.ZipFile, "open", None)
    with pytest.raises(UserError, match="unpacked, it has"):
        read(path)


def lying(path: Path, content: bytes, method: int, claimed: int) -> Path:
    """An archive whose directory says of its only array that it is only `claimed` bytes long, with their checksum."""
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("flat.npy", content)
    parts = path.read_bytes()
    for signature, at in ((b"PK\3\4", 14), (b"PK\1\2", 16)):
        start = parts.index(signature) + at
        fields = (
            struct.pack("<L", zlib.crc32(content[:claimed])),
            parts[start + 4 : start + 8],
            struct.pack("<L", claimed),
        )
        parts = parts[:start] + b"".join(fields) + parts[start + 12 :]
    path.write_bytes(parts)
    return path


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_to_more_than_it_says_takes_no_more_memory(tmp_path: Path, method: int) -> None:
    """zipfile itself unpacks up to two gigabytes at once, and bz2 all there is, before it takes what was claimed."""
    array = array_file(np.arange(10, dtype=np.int32))
    path = lying(tmp_path / "a.npz", array + bytes(32 << 20), method, len(array))
    tracemalloc.start()
    try:
        if method == zipfile.ZIP_DEFLATED:
            assert read_archive(path, {"flat": LAYOUTS["flat"]}, hint="")["flat"].tolist() == list(range(10))
        else:
            with pytest.raises(UserError, match="by a method that is not used for arrays"):
                read_archive(path, {"flat": LAYOUTS["flat"]}, hint="")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "flat",
    [
        array_file(np.int32(3)),
        array_file(np.zeros((2, 2), np.int32)),
        array_file(np.zeros(5, np.int64)),
        array_file(np.array([{}], object)),
        array_file(np.zeros(5, np.int32))[:-1],
        array_file(np.zeros(5, np.int32)) + b"\0",
        b"",
        b"\x93NUMPY\x02\x00",
        header_file("{'descr': '<i4', 'fortran_order': False, 'shape': (1000000000000,), }", bytes(4)),
        header_file("{'descr': '<i4', 'fortran_order': False, 'shape': (-1,), }", bytes(4)),
        header_file("{'descr': (), 'fortran_order': False, 'shape': (1,), }", bytes(4)),
        header_file("{'descr': '<i4', 'fortran_order': False, 'shape': (1,"),
        header_file("{1: 2, 'descr': '<i4', 'fortran_order': False, 'shape': (1,), }", bytes(4)),
        header_file("(" * 5000),
    ],
    ids=[
        *("0-d", "2-d", "int64", "object", "cut", "longer", "empty", "version"),
        *("claim", "negative", "dtype", "unclosed", "key", "deep"),
    ],
)
def test_an_array_that_is_not_what_it_claims_is_refused(tmp_path: Path, flat: bytes) -> None:
    """NumPy makes room for what a header claims, and its parser of headers raises what it happens to."""
    with pytest.raises(UserError, match=r"a\.npz: cannot be read: .*Write it anew"):
        read(written(tmp_path / "a.npz", flat))


def test_archives_that_are_none_or_odd_are_refused(tmp_path: Path) -> None:
    """Encryption, compression of an unknown kind, damaged data: zipfile has an error of its own for each."""
    sound = written(tmp_path / "sound.npz", array_file(ARRAYS["flat"])).read_bytes()
    directory = sound.index(b"PK\x01\x02")
    assert len(read(tmp_path / "sound.npz")) == 2
    values = {
        "nothing.npz": b"",
        "text.npz": b"PK no archive",
        "array.npz": array_file(ARRAYS["flat"]),
        "cut.npz": sound[:-30],
        "flipped.npz": sound[:60] + bytes([sound[60] ^ 0xFF]) + sound[61:],
        "encrypted.npz": sound[: directory + 8] + b"\x01" + sound[directory + 9 :],
        "compression.npz": sound[: directory + 10] + b"\x63" + sound[directory + 11 :],
    }
    for name, content in values.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.npz").mkdir()
    for name in (*values, "folder.npz"):
        with pytest.raises(UserError, match=f"{name}: cannot be read"):
            read(tmp_path / name)
    with pytest.raises(UserError, match=r"none\.npz: no such file"):
        read(tmp_path / "none.npz")


@pytest.mark.parametrize("array", [*ARRAYS.values(), np.zeros((0, 4))], ids=["flat", "fortran", "empty"])
def test_an_array_is_mapped_as_it_was_saved(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    found = map_array(tmp_path / "a.npy", hint="")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    "content",
    [
        array_file(np.int32(3)),
        array_file(np.array([{}], object)),
        array_file(np.array(["a"])),
        array_file(np.zeros(5))[:-1],
        header_file("{'descr': '<i4', 'fortran_order': False, 'shape': (1000000000000,), }"),
        header_file("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", bytes(8)),
        header_file("{'descr': '<i4', 'fortran_order': False, 'shape': (1,"),
        b"PK",
    ],
    ids=["0-d", "object", "text", "cut", "claim", "pointer", "unclosed", "zip"],
)
def test_a_file_that_is_not_the_array_it_claims_is_not_mapped(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.npy: cannot be read"):
        map_array(tmp_path / "a.npy", hint="")
