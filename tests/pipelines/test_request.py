"""The request that is written to a file: a scheduler that sends it must start the run that `submit` starts."""

from __future__ import annotations

import json
from pathlib import Path

from pipelines.options import Resources, RunOptions, Server, StepSettings, Storage
from pipelines.request import run_request
from pipelines.submit import submit
from tests.support.paths import ROOT
from tests.support.pipelines.kfp_server import PipelineServer


def test_the_file_has_what_submit_sends(server: PipelineServer, tmp_path: Path) -> None:
    """Otherwise the run of a scheduler would have other settings than the run of a person."""
    params = tmp_path / "params.yaml"
    params.write_text((ROOT / "params.yaml").read_text().replace(" data/", " /data/"))
    asked = run_request(
        StepSettings(params=params),
        RunOptions(run_name="night", experiment="team"),
        Resources(accelerators=8, processes=8, memory="64Gi"),
        Storage(volume="shared", checkpoints="/data/kept/"),
        cluster=None,
        store=None,
    )
    asked.write(tmp_path / "request.json", namespace="team-a")
    submit(Server(endpoint=server.endpoint), asked.arguments, experiment=asked.experiment, run_name=asked.run_name)
    written = json.loads((tmp_path / "request.json").read_text())
    [sent] = server.runs
    assert written["pipeline"] == sent["pipeline_spec"]
    assert written["arguments"] == sent["runtime_config"]["parameters"]
    assert (written["run_name"], written["experiment"], written["namespace"]) == ("night", "team", "team-a")
    assert written["arguments"]["accelerators"] == 8
    assert written["arguments"]["memory"] == "64Gi"
    assert written["arguments"]["checkpoints"] == "/data/kept/night"
