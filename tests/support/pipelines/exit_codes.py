"""Every way in which a command ends, its exit code, and what Airflow does with it."""

from __future__ import annotations

AIRFLOW_ENDS: dict[int, str | None] = {
    0: None,
    1: "AirflowException",  # an uncaught exception
    2: "AirflowFailException",
    70: "AirflowException",
    75: "AirflowException",
    130: "AirflowException",
    137: "AirflowException",  # killed by SIGKILL, within a shell
    -9: "AirflowException",  # killed by SIGKILL
}
"""Exit code → the exception of the task: none, retried (AirflowException) or not retried (AirflowFailException)."""

COMMAND_ENDS: dict[str, int] = {
    "success": 0,
    "a mistake": 2,
    "a failure": 70,
    "preempted": 75,
    "Ctrl-C": 130,
}
"""How the work of a command ends → exit code, for `codetr` and `python -m pipelines` alike."""

SERVER_ENDS: dict[str, int] = {
    "succeeded": 0,
    "a task ran out of memory": 70,
    "a task ended with a mistake": 2,
    "canceled": 70,
    "not in time": 70,
    "no permission": 2,
    "the server is overloaded": 70,
    "no server": 70,
}
"""How a run on a Kubeflow Pipelines server ends → exit code of `python -m pipelines submit --wait`."""
