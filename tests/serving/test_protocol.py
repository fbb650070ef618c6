"""Requests are parsed as the protocol says, and refused with the field that is wrong."""

from __future__ import annotations

import json
import struct
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codetr.core.errors import UserError
from codetr.serving.protocol import OUTPUTS, Request, parse_request, response
from tests.support.inference_client import binary_request, json_request

files = st.lists(st.binary(max_size=40), min_size=1, max_size=4)


def parse(body: bytes, header: str | None = None) -> Request:
    return parse_request(body, header, threshold=0.3, max_images=4)


@given(files, st.floats(0, 1), st.text(max_size=8))
def test_json_and_binary_data_give_the_same_images(images: list[bytes], threshold: float, identifier: str) -> None:
    others: dict[str, Any] = {"id": identifier, "parameters": {"threshold": threshold}}
    body, headers = binary_request(images, **others)
    binary = parse(body, headers["Inference-Header-Content-Length"])
    assert binary == parse(json.dumps(json_request(*images, **others)).encode())
    assert binary.images == tuple(images)
    assert (binary.threshold, binary.id) == (threshold, identifier)


@given(st.binary(max_size=200), st.none() | st.text(max_size=6) | st.integers(0, 300).map(str))
def test_any_body_is_parsed_or_refused(body: bytes, header: str | None) -> None:
    """Another exception would be answered with 500, as a fault of the server."""
    with suppress(UserError):
        parse(body, header)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["name", "shape", "data"]), inner),
    max_leaves=5,
)


@given(st.sampled_from(["name", "datatype", "shape", "data", "parameters"]), json_values)
def test_any_value_of_a_field_is_parsed_or_refused(field: str, value: Any) -> None:
    body = json_request(b"x")
    body["inputs"][0][field] = value
    with suppress(UserError):
        parse(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"inputs": None}, "inputs: must be a list with one input"),
        ({"name": "image"}, r"inputs\[0\].name: is 'image', expected 'images'"),
        ({"datatype": "FP32"}, r"inputs\[0\].datatype: is 'FP32', expected 'BYTES'"),
        ({"shape": [2]}, r"inputs\[0\].shape: is \[2\], but there are 1 images"),
        ({"shape": [1, 1]}, r"inputs\[0\].shape: is \[1, 1\], expected \[n\]"),
        ({"shape": [True]}, r"inputs\[0\].shape"),
        ({"shape": [5]}, "at most 4 images in one request"),
        ({"data": ["%"]}, r"inputs\[0\].data\[0\]: is not base64"),
        ({"data": "eA=="}, r"inputs\[0\].data: must be a list"),
        ({"outputs": [{"name": "box"}]}, r"outputs\[0\].name: is 'box', expected one of counts, boxes"),
        ({"parameters": {"threshold": 1.5}}, "parameters.threshold: is 1.5, expected a number from 0 to 1"),
        ({"parameters": {"threshold": True}}, "parameters.threshold"),
        ({"id": 3}, "id: is not a string"),
    ],
)
def test_a_wrong_field_is_named(change: dict[str, Any], said: str) -> None:
    body = json_request(b"x")
    for field, value in change.items():
        (body if field in ("inputs", "outputs", "parameters", "id") else body["inputs"][0])[field] = value
    with pytest.raises(UserError, match=said):
        parse(json.dumps(body).encode())


@pytest.mark.parametrize(("header", "said"), [("99999", "the body has"), ("-1", "expected"), ("²", "expected")])
def test_a_wrong_header_is_named(header: str, said: str) -> None:
    with pytest.raises(UserError, match=f"inference-header-content-length: is .*{said}"):
        parse(binary_request([b"x"])[0], header)


def test_a_length_beyond_the_data_is_refused() -> None:
    """It would otherwise be read as a shorter image."""
    body, headers = binary_request([b"abcd"])
    broken = body[:-8] + struct.pack("<I", 9) + b"abcd"
    with pytest.raises(UserError, match="element 0 is longer than the data"):
        parse(broken, headers["Inference-Header-Content-Length"])


def test_outputs_are_chosen_and_binary_where_asked() -> None:
    found = {
        "counts": np.array([1], np.int64),
        "boxes": np.array([[1, 2, 3, 4]], np.float32),
        "names": ["é"],
    }
    request = Request((b"x",), 0.3, "7", {"boxes": True, "names": False})
    body, headers = response(request, found, model="m", version="v")
    size = int(headers["inference-header-content-length"])
    head = json.loads(body[:size])
    assert head == {
        "id": "7",
        "model_name": "m",
        "model_version": "v",
        "outputs": [
            {"name": "boxes", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": 16}},
            {"name": "names", "datatype": "BYTES", "shape": [1], "data": ["é"]},
        ],
    }
    assert body[size:] == struct.pack("<4f", 1, 2, 3, 4)
    body, headers = response(Request((b"x",), 0.3, binary=True), found, model="m", version="v")
    assert body.endswith(struct.pack("<I", 2) + "é".encode())
    assert set(found) < set(OUTPUTS)
