"""The Terraform configuration is applied to a stand-in for AWS (`make test-cluster`): moto, over HTTP.

Needs terraform, and TF_PLUGIN_DIR with its AWS provider.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.support.paths import ROOT

pytestmark = [
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed"),
    pytest.mark.skipif("TF_PLUGIN_DIR" not in os.environ, reason="TF_PLUGIN_DIR names no folder with the AWS provider"),
]

SERVICES = ("ec2", "ecr", "efs", "eks", "fsx", "iam", "kms", "s3", "sts")
REGION = "eu-central-1"
# All but the cluster's add-ons, which moto does not have, and the rules that name its security group, of which moto has
# no more than the name.
TARGETS = (
    "aws_ecr_lifecycle_policy.image",
    "module.bucket",
    "module.cluster[0].aws_eks_node_group.gpu",
    "module.cluster[0].aws_eks_node_group.system",
    "module.network",
    "module.secrets",
    "module.shared[0].aws_efs_mount_target.this",
    "module.tasks",
)
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of moto's server, in which AWS's own policies exist."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("moto") / "log"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    environment = os.environ | {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"}
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def test_dev_is_created(aws: str, tmp_path: Path) -> None:
    """Names, references and policies are those that the services accept; a plan does not show it."""
    folder = tmp_path / "terraform"
    shutil.copytree(ROOT / "infra/terraform", folder, ignore=shutil.ignore_patterns(".terraform*", "tests"))
    (folder / "override.tf").write_text(override(aws))

    def terraform(*arguments: str) -> str:
        environment = os.environ | KEYS | {"TF_CLI_CONFIG_FILE": os.devnull, "CHECKPOINT_DISABLE": "1"}
        command = ["terraform", f"-chdir={folder}", *arguments, "-no-color"]
        result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=600)
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    terraform("init", "-input=false", f"-plugin-dir={os.environ['TF_PLUGIN_DIR']}")
    targets = [f"-target={target}" for target in TARGETS]
    terraform("apply", "-auto-approve", "-input=false", "-var-file=dev.tfvars", *targets)

    def service(name: str) -> Any:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(name, endpoint_url=aws, region_name=REGION, **keys)

    nodes = service("eks").describe_nodegroup(clusterName="codetr-dev", nodegroupName="gpu")["nodegroup"]
    assert nodes["scalingConfig"]["minSize"] == 0
    assert nodes["labels"] == {"codetr.dev/pool": "gpu"}
    policy = json.loads(service("s3").get_bucket_policy(Bucket="codetr-dev-data-123456789012")["Policy"])
    assert policy["Statement"][0]["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    role = service("iam").get_role(RoleName="codetr-dev-tasks")["Role"]
    [trusted] = role["AssumeRolePolicyDocument"]["Statement"]
    [subject] = [value for key, value in trusted["Condition"]["StringEquals"].items() if key.endswith(":sub")]
    assert subject == "system:serviceaccount:codetr:default-editor"
    # What was created is what was asked for.
    assert "No changes" in terraform("plan", "-input=false", "-var-file=dev.tfvars", "-target=module.network")


def override(aws: str) -> str:
    endpoints = "\n".join(f'    {name} = "{aws}"' for name in SERVICES)
    return f"""provider "aws" {{
  region                      = "{REGION}"
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  s3_use_path_style           = true
  endpoints {{
{endpoints}
  }}
}}
"""
