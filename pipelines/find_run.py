"""Find a run by its id or its name."""

from __future__ import annotations

import re

from codetr.core.errors import UserError
from pipelines.kfp_server import PipelineApi, Run

_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def find_run(api: PipelineApi, experiment: str, run: str) -> Run:
    """Return a run by its id, or the newest one of a name in an experiment.

    Raises:
        UserError: there is none.
    """
    if _ID.fullmatch(run):
        return api.run(run)
    parent = api.existing_experiment(experiment)
    found = next(api.runs_named(parent, run), None)
    if found is None:
        hint = "`python -m pipelines list` lists the newest runs; --experiment names another experiment."
        raise UserError(f"there is no run '{run}' in the experiment '{experiment}'", where=api.endpoint, hint=hint)
    # A list does not hold the tasks.
    return api.run(found.run_id)
