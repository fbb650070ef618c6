"""What is refused before a run is submitted: a task would find it hours later, on a machine with GPUs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from codetr.core.errors import UserError
from codetr.launch.spec import SecretKey
from pipelines.checks import read_secrets, require_submittable
from pipelines.options import Resources, RunOptions, Storage

ON_VOLUME = {"annotations": "/data/coco/train.json", "images": "s3://coco/train"}


def check(prepare: Any = None, *, image: str = "codetr:0.1.0", storage: Any = None, **resources: Any) -> None:
    require_submittable(
        {"train": ON_VOLUME} if prepare is None else prepare,
        params=Path("params.yaml"),
        run=RunOptions(image=image),
        resources=Resources(**resources),
        storage=replace(Storage(), **(storage or {})),
    )


def test_what_tasks_see_is_accepted() -> None:
    check()
    check({"train": [ON_VOLUME, {"annotations": "train.json", "images": "images", "repo": "https://host/data.git"}]})
    check(image="r.example:5000/codetr@sha256:0", accelerators=8, processes=8, cpu="500m", memory="64Gi")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prepare": {"train": {"annotations": "train.json"}}}, r"prepare\.train\.annotations: is 'train\.json'"),
        ({"prepare": {"train": [ON_VOLUME, {**ON_VOLUME, "images": "images"}]}}, r"prepare\.train\[1\]\.images"),
        ({"prepare": {"train": ON_VOLUME, "val": {"annotations": "./v"}}}, r"prepare\.val\.annotations: is '\./v'"),
        ({"storage": {"registry": "outputs/registry"}}, r"--registry: is 'outputs/registry'"),
        ({"storage": {"checkpoints": "."}}, "--checkpoints"),
        ({"image": "codetr"}, "--image: 'codetr' names no fixed version"),
        ({"image": "codetr:latest"}, "--image"),
        ({"cpu": "four"}, "--cpu: is 'four'"),
        ({"memory": "16 GB"}, "--memory: is '16 GB'"),
        ({"accelerators": 8}, "--nproc: is 1 with 8 accelerators"),
    ],
)
def test_what_tasks_do_not_see_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check(**given)


def test_secrets_are_named_by_variable_secret_and_key() -> None:
    assert read_secrets(None) == {}
    given = ["WANDB_API_KEY=wandb/api-key", "AWS_SECRET_ACCESS_KEY=s3/secret"]
    assert read_secrets(given)["WANDB_API_KEY"] == SecretKey(secret="wandb", key="api-key")


@pytest.mark.parametrize("text", ["WANDB_API_KEY", "KEY=wandb", "KEY=wandb/", "=wandb/key", "A B=s/k", "KEY=S_x/k"])
def test_what_names_no_secret_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="names no Secret"):
        read_secrets([text])
    with pytest.raises(UserError, match="KEY is given twice"):
        read_secrets(["KEY=a/b", "KEY=a/c"])
