from collections.abc import Iterator

import pytest

from tests.support.pipelines.kfp_server import PipelineServer, running_server


@pytest.fixture
def server() -> Iterator[PipelineServer]:
    with running_server() as server:
        yield server
