"""The key of a result: whatever changes the result changes the key, and nothing else does."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from codetr.core.code_version import library_versions, sources_digest
from codetr.distributed.processes import Processes
from codetr.steps.result_key import ResultKey
from codetr.steps.training_run import TrainingRun
from codetr.zoo.recipe import Recipe
from tests.support.training.runs import RECIPE

KEY = ResultKey("model", {"dataset": "sha256:1"}, {"processes": 1}, {"sources": "sha256:2"}, {"numpy": "2"}, "cpu")

values = st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.integers() | st.none(), max_size=3)


@given(name=st.sampled_from(["inputs", "settings", "code", "libraries"]), value=values)
def test_any_change_of_a_part_changes_the_key(name: str, value: dict[str, Any]) -> None:
    """A model of other data, settings, code or libraries would be found."""
    changed = replace(KEY, **cast(dict[str, Any], {name: value}))
    assert (changed.digest == KEY.digest) == (changed == KEY)


def test_every_part_counts() -> None:
    """A part that is added later and left out of the digest would give stale results."""
    assert set(KEY.to_json()) == {"format", *(field.name for field in fields(KEY))}
    assert replace(KEY, device="cuda").digest != KEY.digest
    assert replace(KEY, kind="evaluation").digest != KEY.digest


@given(value=values)
def test_the_order_of_names_does_not_count(value: dict[str, Any]) -> None:
    """Settings from YAML and from the command line come in another order."""
    turned = dict(reversed(value.items()))
    assert replace(KEY, settings=value).digest == replace(KEY, settings=turned).digest


def test_the_key_of_a_step_has_the_code_and_the_libraries_that_run() -> None:
    key = ResultKey.of_step("dataset", "codetr.steps.prepare", inputs={}, settings={})
    assert key.code["sources"] == sources_digest("codetr.steps.prepare")
    assert key.libraries == library_versions()
    assert {"numpy", "scipy", "torchvision", "matplotlib"} <= key.libraries.keys()


def test_a_changed_source_file_changes_the_key_of_the_steps_that_import_it(tmp_path: Path) -> None:
    """The new release would return the results of the old one, without its corrections."""
    package = tmp_path / "codetr"
    package.mkdir()
    for name, text in {"__init__": "", "step": "from codetr.part import f", "part": "f = 1", "other": ""}.items():
        (package / f"{name}.py").write_text(text)
    before = sources_digest("codetr.step", package=package)
    changed = tmp_path / "changed" / "codetr"
    changed.parent.mkdir()
    package.rename(changed)
    (changed / "other.py").write_text("x = 2")
    assert sources_digest("codetr.step", package=changed) == before
    again = tmp_path / "again" / "codetr"
    again.parent.mkdir()
    changed.rename(again)
    (again / "part.py").write_text("f = 2")
    assert sources_digest("codetr.step", package=again) != before


def training_key(recipe: Recipe, processes: int = 1, device: str = "cpu", **inputs: str) -> str:
    group = cast(Processes, None)  # the key does not depend on who asks for it
    run = TrainingRun(recipe, {"dataset": "sha256:1", **inputs}, Path("d"), Path("o"), Path("c"), group, None)
    return run.result_key(processes=processes, device=device).digest


DECISIVE: dict[str, st.SearchStrategy[Any]] = {
    "training.epochs": st.integers(4, 99),
    "training.seed": st.integers(1, 99),
    "training.threads": st.integers(2, 9),
    "training.accumulate": st.integers(3, 9),
    "training.distribution": st.just("fsdp"),
    "training.precision": st.just("bf16"),
    "training.validate_every": st.sampled_from([0, 1]),
    "training.ema.momentum": st.floats(0.02, 0.5),
    "training.schedule.warmup_iterations": st.integers(5, 99),
    "preprocess.short_side": st.integers(65, 90),
    "augment.flip_probability": st.floats(0.6, 1),
    "loader.batch_size": st.integers(2, 9),
}
UNRELATED: dict[str, st.SearchStrategy[Any]] = {
    "description": st.text(max_size=9),
    "loader.workers": st.integers(0, 9),
    "loader.prefetch": st.integers(1, 9),
    "loader.bad_images": st.just("skip"),
    "training.checkpoint.every_steps": st.integers(1, 99),
    "training.checkpoint.keep": st.integers(1, 9),
    "init_from": st.just("elsewhere/model"),  # its digest is one of the inputs
}


@given(data=st.data(), name=st.sampled_from(sorted(DECISIVE)))
@settings(max_examples=30, deadline=None)
def test_a_setting_that_changes_the_weights_changes_the_key(data: st.DataObject, name: str) -> None:
    assert training_key(RECIPE.changed([(name, data.draw(DECISIVE[name]))])) != training_key(RECIPE)


@given(data=st.data(), name=st.sampled_from(sorted(UNRELATED)))
@settings(max_examples=20, deadline=None)
def test_a_setting_that_changes_nothing_is_no_part_of_the_key(data: st.DataObject, name: str) -> None:
    """A machine with more cores would train again."""
    assert training_key(RECIPE.changed([(name, data.draw(UNRELATED[name]))])) == training_key(RECIPE)


def test_inputs_processes_and_device_are_part_of_the_key_of_a_training() -> None:
    keys = {
        training_key(RECIPE),
        training_key(RECIPE, processes=2),
        training_key(RECIPE, device="cuda"),
        training_key(RECIPE, dataset="sha256:2"),
        training_key(RECIPE, init_from="sha256:3"),
        training_key(RECIPE, backbone="sha256:4"),
    }
    assert len(keys) == 6
