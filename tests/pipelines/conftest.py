from collections.abc import Iterator

import pytest

from tests.support.pipelines.kfp_server import PipelineServer, running_server


@pytest.fixture
def server() -> Iterator[PipelineServer]:
    with running_server() as server:
        yield server


@pytest.fixture(autouse=True)
def no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in lists a run as soon as it is created."""
    monkeypatch.setattr("pipelines.submit.SETTLE", 0.0)
