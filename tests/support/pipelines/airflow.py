"""Airflow as it is deployed: in a separate environment, here with a database in a temporary folder."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT


def airflow_program() -> Path:
    """Return the command `airflow` of its environment."""
    program = Path(os.environ.get("CODETR_AIRFLOW", ROOT / ".venv-airflow/bin/airflow"))
    assert program.is_file(), f"{program} is missing: run the tests by `make test`, or set CODETR_AIRFLOW"
    return program


def airflow_environment(home: Path, **variables: str) -> dict[str, str]:
    """Return the environment of a scheduler with its files in `home`, and `variables`."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "TMPDIR", "LANG") or name.startswith("COVERAGE_")
    }
    return {
        **inherited,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        # The metadata database is the only thing that could be asked for on the network.
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        **variables,
    }


class Airflow:
    """The command `airflow`, with its home in a temporary folder (SQLite)."""

    def __init__(self, home: Path) -> None:
        (home / "plugins").mkdir(parents=True)
        self.home = home
        self.program = airflow_program()
        self.run("db", "migrate")

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of its scheduler, and `variables`."""
        return airflow_environment(self.home, **variables)

    def run(self, *arguments: str, timeout: float = 300, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `airflow …` to its end."""
        command = [str(self.program), *arguments]
        environment = self.environment(**variables)
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout, check=False)

    def run_retraining(self, params: Mapping[str, Any], **variables: str) -> subprocess.CompletedProcess[str]:
        """Run the DAG `codetr_retrain` to its end, without a scheduler."""
        arguments = ("dags", "test", "codetr_retrain", "--conf", json.dumps(params))
        return self.run(*arguments, timeout=300, **variables)
