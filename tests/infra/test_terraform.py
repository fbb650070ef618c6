"""The Terraform configuration is formatted and valid, and its tests pass (without an AWS account)."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SOURCE = ROOT / "infra/terraform"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, initialised with the providers in TF_PLUGIN_DIR, so that the repository stays clean."""
    copy = tmp_path_factory.mktemp("terraform") / "terraform"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns(".terraform*"))
    terraform(copy, "init", "-backend=false", f"-plugin-dir={os.environ['TF_PLUGIN_DIR']}")
    return copy


def terraform(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
    command = ["terraform", f"-chdir={folder}", *arguments, "-no-color"]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_is_formatted() -> None:
    terraform(SOURCE, "fmt", "-check", "-diff", "-recursive")


def test_is_valid(folder: Path) -> None:
    assert "The configuration is valid" in terraform(folder, "validate")


def test_the_tests_of_the_modules_pass(folder: Path) -> None:
    output = terraform(folder, "test")
    runs = sum(path.read_text().count('\nrun "') for path in (SOURCE / "tests").glob("*.tftest.hcl"))
    assert f"{runs} passed, 0 failed" in output


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_settings_name_variables_that_exist(environment: str) -> None:
    """Terraform only warns about a variable that no module has."""
    known = set(re.findall(r'^variable "(\w+)"', (SOURCE / "variables.tf").read_text(), re.MULTILINE))
    given = set(re.findall(r"^(\w+) *=", (SOURCE / f"{environment}.tfvars").read_text(), re.MULTILINE))
    assert given <= known
    assert "environment" in given
