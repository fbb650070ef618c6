"""A local run of the pipeline that is killed takes the processes of its tasks with it, whenever that happens."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from tests.support.pipelines.run_local import ENVIRONMENT, command, drawn_params, steps_done, steps_saved
from tests.support.process_trees import ProcessTree, left_after_kills, wait_for

pytestmark = pytest.mark.process


def test_tasks_end(tmp_path: Path) -> None:
    """A task that waits for something would stay, and the next run would work beside it in the same folders."""
    source = {"annotations": "s3://bucket/annotations.json", "images": "s3://bucket/images"}
    params = tmp_path / "params.yaml"
    params.write_text(yaml.safe_dump({"prepare": {"train": source, "val": source}, "train": {"recipe": "tiny"}}))
    with socket.create_server(("localhost", 0)) as server:
        server.setblocking(False)
        storage = {
            "AWS_ENDPOINT_URL": f"http://localhost:{server.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
        connections = []

        def start(folder: Path) -> ProcessTree:
            words = command(folder, params)
            return ProcessTree.of_command(words, log=folder / "log.txt", environment=ENVIRONMENT | storage)

        def has_connected(_: Path) -> bool:
            try:
                connections.append(server.accept())  # It is never answered.
            except BlockingIOError:
                return False
            return True

        assert left_after_kills(start, has_connected, tmp_path) == []
        for connection, _ in connections:
            connection.close()


def test_training_saves_a_checkpoint(tmp_path: Path) -> None:
    """Its output goes to the process that was killed: neither that nor the kill may cost the steps since the last."""
    params = drawn_params(tmp_path, 40)
    tree = ProcessTree.of_command(command(tmp_path, params), log=tmp_path / "log.txt", environment=ENVIRONMENT)
    try:
        wait_for(lambda: steps_done(tmp_path) >= 2, tree)
        assert steps_saved(tmp_path) == 0
        tree.kill_root()
        assert tree.wait_until_empty() is not None, tree.commands()
        assert steps_saved(tmp_path) == steps_done(tmp_path) >= 2
    finally:
        tree.kill_all()
