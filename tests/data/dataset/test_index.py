"""An index on disk is the one in memory, whatever order and texts its objects come from."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from codetr.data.annotation_table import AnnotationTable, CheckedAnnotation
from codetr.data.ingest.image_check import CheckedImage
from codetr.data.ingest.write_index import build_index, write_index

IMAGES = [CheckedImage(key, f"{key}.jpg", 30, 40, True, "sha256:" + f"{key:02x}" * 32, 1) for key in (9, 4, 7)]
LABELS = {12: 1, 3: 0}


def entry(identifier: int, image: int, segmentation: list[list[float]] | None) -> CheckedAnnotation:
    category = 12 if identifier % 2 else 3
    return CheckedAnnotation(identifier, image, category, (1, 2, 3.5, 4), 14.0, False, True, segmentation)


@pytest.fixture
def objects() -> AnnotationTable:
    """Objects of two sources, some without segmentation."""
    entries = [entry(k, (4, 9)[k % 2], [[k, 2, 3.25, 4, 5, 6]] if k % 3 else None) for k in range(1, 8)]
    spaced = AnnotationTable.of([entry(20, 9, [[1, 2, 3, 4, 5, 6]]), entry(21, 4, [[6, 5, 4, 3, 2, 1]])])
    first, second = b"[ [1, 2,\n3, 4, 5, 6]\t]", b"[[6, 5, 4, 3, 2, 1]]"
    byte_ranges = np.array([[0, 0, len(first)], [0, len(first) + 4, len(first) + 4 + len(second)]])
    spaced = replace(spaced, texts=(first + b" or " + second,), segmentations=byte_ranges)
    return AnnotationTable.concatenate([AnnotationTable.of(entries), spaced])


def test_what_is_written_is_what_is_built(objects: AnnotationTable, tmp_path: Path) -> None:
    write_index(tmp_path / "index", IMAGES, objects, LABELS)
    built = build_index(IMAGES, objects, LABELS)
    assert {path.stem for path in (tmp_path / "index").iterdir()} == set(built)
    for name, array in built.items():
        stream = io.BytesIO()
        np.save(stream, array)
        assert (tmp_path / "index" / f"{name}.npy").read_bytes() == stream.getvalue(), name


def test_every_object_has_its_segmentation_and_label(objects: AnnotationTable) -> None:
    arrays = build_index(IMAGES, objects, LABELS)
    assert arrays["object_offsets"].tolist() == [0, 5, 9, 9]
    assert arrays["annotation_ids"].tolist() == [1, 3, 5, 7, 20, 2, 4, 6, 21]
    assert arrays["labels"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 1]
    offsets = arrays["segmentation_offsets"].tolist()
    texts = [bytes(arrays["segmentations"][start:stop]) for start, stop in pairwise(offsets)]
    assert [json.loads(text) if text else None for text in texts] == [
        [[1, 2, 3.25, 4, 5, 6]],
        None,
        [[5, 2, 3.25, 4, 5, 6]],
        [[7, 2, 3.25, 4, 5, 6]],
        [[1, 2, 3, 4, 5, 6]],
        [[2, 2, 3.25, 4, 5, 6]],
        [[4, 2, 3.25, 4, 5, 6]],
        None,
        [[6, 5, 4, 3, 2, 1]],
    ]
    assert not any(character in b"".join(texts) for character in b" \n\t")


def test_an_index_without_objects(tmp_path: Path) -> None:
    write_index(tmp_path / "index", IMAGES, AnnotationTable.of([]), LABELS)
    assert len(np.load(tmp_path / "index" / "segmentations.npy")) == 0
    assert np.load(tmp_path / "index" / "segmentation_offsets.npy").tolist() == [0]
