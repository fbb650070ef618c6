"""Requests and responses of the Open Inference Protocol v2, with its extension for binary data.

The protocol is KServe's, https://kserve.github.io/website/docs/concepts/architecture/data-plane/v2-protocol. A request
has one input, `images`: BYTES tensor of encoded files, in JSON as base64. Detections of all images are concatenated in
the outputs, and `counts` says how many belong to each image.
"""

from __future__ import annotations

import base64
import binascii
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codetr.core.errors import UserError
from codetr.inference.result import Result

INPUT = "images"
HEADER_LENGTH = "inference-header-content-length"
"""Header of requests and responses with binary data: how many bytes the JSON before the data has."""

_DTYPES: dict[str, type[np.generic]] = {"INT64": np.int64, "FP32": np.float32}


@dataclass(frozen=True)
class Request:
    """A request for inference.

    Attributes:
        images: encoded image files.
        threshold: lowest score of the detections.
        id: that the response repeats; "" for none.
        outputs: those that were asked for, and whether as binary data; empty for all of them, as JSON.
        binary: whether outputs that do not say are binary.
    """

    images: tuple[bytes, ...]
    threshold: float
    id: str = ""
    outputs: Mapping[str, bool] | None = None
    binary: bool = False


def parse_request(body: bytes, header_length: str | None, *, threshold: float, max_images: int) -> Request:
    """Parse the body of a request.

    Args:
        body: JSON, followed by binary data if `header_length` is given.
        header_length: the header of that name.
        threshold: for requests that do not say.
        max_images: that one request may have.

    Raises:
        UserError: it does not follow the protocol; the message names the field.
    """
    size = _number(header_length, HEADER_LENGTH) if header_length is not None else len(body)
    if size > len(body):
        raise UserError(f"is {size}, but the body has {len(body)} bytes", where=HEADER_LENGTH)
    try:
        parsed = json.loads(body[:size])
    except (ValueError, RecursionError):
        raise UserError("is not valid JSON", where="the body") from None
    if not isinstance(parsed, dict):
        raise UserError("is not a JSON object", where="the body")
    parameters = _mapping(parsed.get("parameters"), "parameters")
    given = parameters.get("threshold", threshold)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given <= 1:
        raise UserError(f"is {given!r}, expected a number from 0 to 1", where="parameters.threshold")
    identifier = parsed.get("id", "")
    if not isinstance(identifier, str):
        raise UserError("is not a string", where="id")
    return Request(
        images=_images(parsed.get("inputs"), body[size:], max_images),
        threshold=float(given),
        id=identifier,
        outputs=_outputs(parsed.get("outputs")),
        binary=parameters.get("binary_data_output") is True,
    )


def _images(inputs: Any, data: bytes, max_images: int) -> tuple[bytes, ...]:
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise UserError(f"must be a list with one input, '{INPUT}'", where="inputs")
    [given] = inputs
    for field, expected in (("name", INPUT), ("datatype", "BYTES")):
        if given.get(field) != expected:
            raise UserError(f"is {given.get(field)!r}, expected '{expected}'", where=f"inputs[0].{field}")
    shape = given.get("shape")
    if not (isinstance(shape, list) and len(shape) == 1 and type(shape[0]) is int and shape[0] >= 1):
        raise UserError(f"is {shape!r}, expected [n] for n images", where="inputs[0].shape")
    if shape[0] > max_images:
        raise UserError(f"is {shape}: at most {max_images} images in one request", where="inputs[0].shape")
    size = _mapping(given.get("parameters"), "inputs[0].parameters").get("binary_data_size")
    if size is not None:
        if type(size) is not int or size != len(data):
            problem = f"is {size!r}, but {len(data)} bytes follow the JSON"
            raise UserError(problem, where="inputs[0].parameters.binary_data_size")
        images = _split(data)
    else:
        images = _decode(given.get("data"))
    if len(images) != shape[0]:
        raise UserError(f"is {shape}, but there are {len(images)} images", where="inputs[0].shape")
    return tuple(images)


def _split(data: bytes) -> list[bytes]:
    """Return the elements of a BYTES tensor: each has its length before it, as 4 bytes, little-endian."""
    found: list[bytes] = []
    position = 0
    while position < len(data):
        end = position + 4
        length = struct.unpack_from("<I", data, position)[0] if end <= len(data) else len(data)
        if end + length > len(data):
            raise UserError(f"element {len(found)} is longer than the data", where="inputs[0]")
        found.append(data[end : end + length])
        position = end + length
    return found


def _decode(data: Any) -> list[bytes]:
    if not isinstance(data, list):
        raise UserError("must be a list of base64 strings", where="inputs[0].data")
    images = []
    for number, text in enumerate(data):
        try:
            images.append(base64.b64decode(text, validate=True))
        except (binascii.Error, TypeError, ValueError):
            raise UserError("is not base64", where=f"inputs[0].data[{number}]") from None
    return images


def _outputs(given: Any) -> dict[str, bool] | None:
    if given is None:
        return None
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise UserError("must be a list of objects with a name", where="outputs")
    asked = {}
    for number, one in enumerate(given):
        name, parameters = one.get("name"), _mapping(one.get("parameters"), f"outputs[{number}].parameters")
        if name not in OUTPUTS:
            raise UserError(f"is {name!r}, expected one of {', '.join(OUTPUTS)}", where=f"outputs[{number}].name")
        asked[name] = parameters.get("binary_data") is True
    return asked


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError("is not a JSON object", where=where)
    return value


def _number(text: str, where: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise UserError(f"is {text!r}, expected a number of bytes", where=where)
    return int(text)


OUTPUTS: dict[str, tuple[str, tuple[int, ...]]] = {
    "counts": ("INT64", (-1,)),
    "boxes": ("FP32", (-1, 4)),
    "scores": ("FP32", (-1,)),
    "labels": ("INT64", (-1,)),
    "names": ("BYTES", (-1,)),
    "segmentations": ("BYTES", (-1,)),
}
"""Type and shape of each output. Models with masks have the last one: run-length codes of COCO, as JSON."""


def output_names(has_masks: bool) -> tuple[str, ...]:
    """Return the outputs that a model has."""
    return tuple(name for name in OUTPUTS if has_masks or name != "segmentations")


def tensors(results: Sequence[Result], *, has_masks: bool) -> dict[str, Any]:
    """Return the outputs for some images: arrays for numbers, lists of strings for BYTES.

    `boxes` are xyxy in pixels of the image as it is shown, that is, turned by its EXIF orientation.
    """
    boxes = [result.boxes for result in results]
    found: dict[str, Any] = {
        "counts": np.array([len(result) for result in results], dtype=np.int64),
        "boxes": np.concatenate([*boxes, np.zeros((0, 4), np.float32)]),
        "scores": np.concatenate([*(result.scores for result in results), np.zeros(0, np.float32)]),
        "labels": np.concatenate([*(result.labels for result in results), np.zeros(0, np.int64)]).astype(np.int64),
        "names": [name for result in results for name in result.names],
    }
    if has_masks:
        entries = [entry for result in results for entry in result.to_coco()]
        found["segmentations"] = [json.dumps(entry["segmentation"]) for entry in entries]
    return found


def response(request: Request, found: Mapping[str, Any], *, model: str, version: str) -> tuple[bytes, dict[str, str]]:
    """Return the body of a response, and its headers.

    Args:
        request: what was asked for.
        found: see `tensors`.
        model: its name.
        version: of the model.
    """
    asked = dict.fromkeys(found, request.binary) if request.outputs is None else request.outputs
    outputs, chunks = [], []
    for name, values in found.items():
        if name not in asked:
            continue
        datatype = OUTPUTS[name][0]
        shape = list(values.shape) if isinstance(values, np.ndarray) else [len(values)]
        output: dict[str, Any] = {"name": name, "datatype": datatype, "shape": shape}
        if asked[name] or request.binary:
            chunks.append(_binary(values, datatype))
            output["parameters"] = {"binary_data_size": len(chunks[-1])}
        else:
            output["data"] = values.ravel().tolist() if isinstance(values, np.ndarray) else values
        outputs.append(output)
    head: dict[str, Any] = {"model_name": model, "model_version": version, "outputs": outputs}
    if request.id:
        head["id"] = request.id
    text = json.dumps(head).encode()
    if not chunks:
        return text, {"content-type": "application/json"}
    return b"".join([text, *chunks]), {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(text))}


def _binary(values: Any, datatype: str) -> bytes:
    if datatype == "BYTES":
        encoded = [text.encode() for text in values]
        return b"".join(struct.pack("<I", len(one)) + one for one in encoded)
    array = np.ascontiguousarray(values, dtype=_DTYPES[datatype])
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


def metadata(model: str, version: str, *, has_masks: bool) -> dict[str, Any]:
    """Return the description of a model."""
    return {
        "name": model,
        "versions": [version],
        "platform": "pytorch_codetr",
        "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": name, "datatype": OUTPUTS[name][0], "shape": list(OUTPUTS[name][1])}
            for name in output_names(has_masks)
        ],
    }
