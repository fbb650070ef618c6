"""A server answers real requests: health, metadata, detections, limits, metrics."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from codetr.inference.result import Result
from codetr.serving.app import Limits, build_app
from tests.support.inference_client import binary_request, encoded, json_request, running
from tests.support.models.finder import Finder, scene

BOXES = ((3, 4, 20, 12), (30, 20, 50, 40))
INFER = "/v2/models/finder/infer"
LIMITS = Limits(body=20_000, pixels=10_000, images=3, waiting=4)


class SlowFinder(Finder):
    """Waits until it is let go; fails when it sees an image of one row."""

    def __init__(self) -> None:
        super().__init__()
        self.free = threading.Event()
        self.free.set()
        self.started = threading.Semaphore(0)

    def predict(self, images: Any, **options: Any) -> Any:
        self.started.release()
        self.free.wait(10)
        if images[0].shape[0] == 1:
            raise RuntimeError("the GPU is gone")
        return super().predict(images, **options)


@pytest.fixture(scope="module")
def model() -> SlowFinder:
    return SlowFinder()


@pytest.fixture(scope="module")
def client(model: SlowFinder) -> Iterator[httpx.Client]:
    app = build_app(model, name="finder", version="0123456789ab", max_delay=0, limits=LIMITS)
    with running(app) as client:
        yield client


def outputs(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return {one["name"]: one["data"] for one in answer.json()["outputs"]}


def picture() -> NDArray[np.uint8]:
    return scene(60, 80, *BOXES)


def test_the_server_describes_itself_and_its_model(client: httpx.Client) -> None:
    assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert client.get("/v2/health/live").json() == {"live": True}
    for path in ("/v2/health/ready", "/v2/models/finder/ready", "/v2/models/finder/versions/0123456789ab/ready"):
        assert client.get(path).json() == {"ready": True}
    described = client.get("/v2/models/finder").json()
    assert (described["name"], described["versions"]) == ("finder", ["0123456789ab"])
    assert described["inputs"] == [{"name": "images", "datatype": "BYTES", "shape": [-1]}]
    assert [one["name"] for one in described["outputs"]] == ["counts", "boxes", "scores", "labels", "names"]


def test_detections_are_those_of_the_model(client: httpx.Client, model: SlowFinder) -> None:
    expected: Sequence[Result] = Finder().predict([picture(), scene(60, 80)], threshold=0.3)
    found = outputs(client.post(INFER, json=json_request(encoded(picture()), encoded(scene(60, 80)))))
    assert found["counts"] == [2, 0]
    assert np.array_equal(np.reshape(found["boxes"], (-1, 4)), expected[0].boxes)
    assert np.array_equal(np.float32(found["scores"]), expected[0].scores)
    assert found["labels"] == expected[0].labels.tolist()
    assert found["names"] == expected[0].names


def test_binary_data_goes_both_ways(client: httpx.Client) -> None:
    """An image as base64 is a third larger."""
    asked = [{"name": "boxes", "parameters": {"binary_data": True}}, {"name": "counts"}]
    body, headers = binary_request([encoded(picture())], outputs=asked, id="a")
    answer = client.post(INFER, content=body, headers=headers)
    size = int(answer.headers["inference-header-content-length"])
    head = json.loads(answer.content[:size])
    assert head["id"] == "a"
    assert [one["name"] for one in head["outputs"]] == ["counts", "boxes"]
    assert np.frombuffer(answer.content[size:], "<f4").reshape(-1, 4).tolist() == [list(box) for box in BOXES]


def test_a_request_chooses_its_threshold(client: httpx.Client) -> None:
    """The first rectangle has the score 0.89, the second 0.889."""
    body = json_request(encoded(picture()), parameters={"threshold": 0.8895})
    assert outputs(client.post(INFER, json=body))["counts"] == [1]


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_files_of_any_format_are_read(client: httpx.Client, format_name: str) -> None:
    answer = client.post(INFER, json=json_request(encoded(scene(8, 8), format_name)))
    assert outputs(answer)["counts"] == [0]


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"{", 400, "the body: is not valid JSON"),
        (json.dumps(json_request(b"no image")).encode(), 400, "images[0]: "),
        (json.dumps(json_request(encoded(scene(101, 100)))).encode(), 400, "images[0]: has more than 10,000 pixels"),
        (json.dumps(json_request(*[b"x"] * 4)).encode(), 400, "at most 3 images"),
        (b" " * 20_001, 413, "the body has more than 20000 bytes"),
        (json.dumps(json_request(encoded(scene(1, 8)))).encode(), 500, "the server failed"),
    ],
)
def test_errors_are_json_and_say_what_is_wrong(client: httpx.Client, content: bytes, status: int, said: str) -> None:
    answer = client.post(INFER, content=content)
    assert answer.status_code == status
    assert said in answer.json()["error"]
    assert outputs(client.post(INFER, json=json_request(encoded(scene(8, 8)))))["counts"] == [0]


def test_a_body_without_a_length_is_bounded_too(client: httpx.Client) -> None:
    """A client can send chunks for ever."""

    def chunks() -> Iterator[bytes]:
        for _ in range(30):
            yield b" " * 1000

    assert client.post(INFER, content=chunks()).status_code == 413


def test_other_paths_and_methods_are_refused(client: httpx.Client) -> None:
    answer = client.get("/v2/models/other")
    assert (answer.status_code, answer.json()) == (
        404,
        {"error": "there is no /v2/models/other; the model is /v2/models/finder"},
    )
    assert client.get(INFER).status_code == 405


def test_a_server_that_is_behind_says_so_and_recovers(client: httpx.Client, model: SlowFinder) -> None:
    """Otherwise memory fills up, and all clients time out."""
    body = json_request(encoded(scene(9, 9)))
    answers: list[httpx.Response] = []
    model.free.clear()
    while model.started.acquire(blocking=False):
        pass
    threads = [threading.Thread(target=lambda: answers.append(client.post(INFER, json=body))) for _ in range(8)]
    try:
        for thread in threads:
            thread.start()
        model.started.acquire(timeout=10)
        assert client.get("/v2/health/ready").status_code == 200
        while sum(answer.status_code == 429 for answer in answers) < 4:
            threads[-1].join(0.01)
    finally:
        model.free.set()
        for thread in threads:
            thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 4
    assert all(answer.headers["retry-after"] == "1" for answer in answers if answer.status_code == 429)
    assert outputs(client.post(INFER, json=body))["counts"] == [0]


def test_metrics_count_requests_by_code(client: httpx.Client) -> None:
    def value(name: str) -> float:
        lines = client.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))

    right = 'codetr_serve_requests_total{code="200",model="finder"}'
    wrong = 'codetr_serve_requests_total{code="400",model="finder"}'
    before = value(right), value(wrong)
    client.post(INFER, json=json_request(encoded(scene(8, 8))))
    client.post(INFER, content=b"")
    assert (value(right), value(wrong)) == (before[0] + 1, before[1] + 1)
    assert value('codetr_serve_request_seconds_count{model="finder"}') > 0
    assert value('codetr_serve_batch_size_count{model="finder"}') > 0


def test_base64_of_another_alphabet_is_refused(client: httpx.Client) -> None:
    body = json_request(b"x")
    body["inputs"][0]["data"] = [base64.urlsafe_b64encode(b"\xff\xfe\xfd").decode() + "-_"]
    assert client.post(INFER, json=body).status_code == 400
