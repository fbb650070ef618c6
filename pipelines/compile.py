"""Compile the pipeline to one YAML file that a Kubeflow Pipelines server runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp import compiler

from codetr.core.errors import UserError
from codetr.core.files import atomic_file
from codetr.launch.spec import SecretKey
from pipelines.retrain import retrain


def compile_pipeline(output: Path) -> None:
    """Compile `retrain` to `output`, which appears atomically.

    Raises:
        UserError: `output` does not end in .yaml.
    """
    if output.suffix not in (".yaml", ".yml"):
        raise UserError("a compiled pipeline is YAML", where=str(output), hint="Choose a name that ends in .yaml.")
    with atomic_file(output) as temporary:
        # The compiler chooses the format by the suffix.
        compiled = temporary.with_suffix(".yaml")
        compiler.Compiler().compile(retrain, str(compiled))
        compiled.replace(temporary)


def pipeline_documents(secrets: Mapping[str, SecretKey] | None = None) -> dict[str, Any]:
    """Return `retrain` as a server takes it: its specification, and its settings for Kubernetes.

    Args:
        secrets: environment variables of every task, from Secrets. Kubernetes has their values; no file of the
            pipeline does.
    """
    platform = json_format.MessageToDict(retrain.platform_spec)
    for executor in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        executor["secretAsEnv"] = [
            {
                "secretName": value.secret,
                "secretNameParameter": {"runtimeValue": {"constant": value.secret}},
                "keyToEnv": [{"secretKey": value.key, "envVar": variable}],
                "optional": False,
            }
            for variable, value in sorted((secrets or {}).items())
        ]
    return {"pipeline_spec": json_format.MessageToDict(retrain.pipeline_spec), "platform_spec": platform}
