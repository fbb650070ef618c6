"""The command line: help, settings, errors and exit codes, in real processes where streams and codes count."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from codetr import zoo
from codetr.__main__ import require_posix
from codetr.cli import main
from codetr.core.errors import UserError
from codetr.core.manifest import Manifest
from codetr.data.dataset.split import Split
from codetr.data.synthetic import draw_sample_data
from codetr.registry.store import Registry
from codetr.steps.register import RegisterConfig
from codetr.steps.settings import chosen_recipe, section, step_settings
from tests.support.command import call, start
from tests.support.data.clips import write_clip
from tests.support.data.dataset_trees import write_voc, write_yolo
from tests.support.models.small_models import write_images, write_model
from tests.support.paths import ROOT
from tests.support.registry.registries import write_registry

COMMANDS = (
    "prepare",
    "train",
    "evaluate",
    "register",
    "predict",
    "benchmark",
    "convert",
    "export",
    "score",
    "sample-data",
    "doctor",
    "show",
    "zoo",
)


def test_help_teaches_and_does_not_load_torch() -> None:
    """Heavy libraries would make the help take seconds."""
    script = (
        "import sys; from codetr.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print('LOADED', sorted({'torch', 'scipy', 'PIL', 'matplotlib', 'wandb', 'numpy'} & set(sys.modules)))"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "LOADED []" in process.stdout
    for command in (*COMMANDS, "registry"):
        assert command in process.stdout


@pytest.mark.parametrize(
    "command",
    [[name] for name in COMMANDS] + [["registry", name] for name in ("list", "show", "rollback")],
    ids=" ".join,
)
def test_every_commands_help_has_an_example(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    code, out, _ = call(capsys, *command, "--help")
    assert code == 0
    assert f"codetr {' '.join(command)} " in out.split("Options")[0].split("Usage:")[1].split("\n", 1)[1]


def test_a_users_mistake_is_a_message_on_stderr_and_code_2(tmp_path: Path) -> None:
    process = start("registry", "list", tmp_path / "nowhere")
    assert process.returncode == 2
    assert process.stdout == ""
    assert process.stderr.startswith("Error: ")
    assert "there is no registry" in process.stderr
    assert "Traceback" not in process.stderr


MISSING = """
import sys
from codetr.cli import main
commands = [
    "train --recipe tiny -d nowhere -o out",
    "train --recipe tiny -d train.json -o out",
    "train --recipe tny -d x -o out",
    "evaluate -m nowhere -d nowhere -o out", "predict -m nowhere -o out x.jpg", "evaluate -m registry -d x -o out",
]
for command in commands:
    try:
        main(command.split())
    except SystemExit as end:
        assert end.code == 2, command
assert "torch" not in sys.modules
"""


def test_what_is_missing_is_said_before_pytorch_is_imported(tmp_path: Path) -> None:
    """A wrong path would be answered after many seconds."""
    (tmp_path / "train.json").write_text("{}")
    Registry.open(tmp_path / "registry", create=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", MISSING], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert "nowhere: there is no such folder. Prepare it first" in said[0]
    assert "Prepare it first: codetr prepare --train train.json" in said[1]
    assert "Did you mean 'tiny'" in said[2]
    assert all("nowhere: there is no such folder. `codetr train` writes one" in line for line in said[3:5])
    assert "registry@champion" in said[5]


def test_a_path_with_brackets_is_printed_as_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Error messages contain names that the user chose; they are text, not markup."""
    _, _, err = call(capsys, "registry", "list", tmp_path / "[bold]x")
    assert "[bold]x" in err


def test_a_file_name_that_is_not_utf8_can_be_in_an_error(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    process = start("registry", "list", f"{tmp_path}/{name}")
    assert process.returncode == 2
    assert "there is no registry" in process.stderr
    assert "Traceback" not in process.stderr


def test_a_defect_is_a_traceback(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Only expected errors are messages; a defect without a traceback could not be reported."""
    monkeypatch.setattr(Registry, "open", lambda root: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["registry", "list", "x"])


def test_windows_is_named_instead_of_a_missing_module(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        require_posix("nt")
    assert ended.value.code == 2
    assert "WSL" in capsys.readouterr().err


def test_an_unknown_option_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = call(capsys, "registry", "list", "--colour", "red", "x")
    assert code == 2
    assert "--colour" in err


def test_interrupting_is_code_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(root: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Registry, "open", interrupt)
    assert call(capsys, "registry", "list", "x")[0] == 130


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from codetr.core.version import __version__

    assert call(capsys, "--version")[:2] == (0, f"codetr {__version__}\n")


# Settings


def test_settings_come_from_the_file_then_options_then_set(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("register: {metric: AP50, min_improvement: 0.1, floor: 0.2}\n")
    config = step_settings(RegisterConfig, "register", params, ["floor=0.3"], {"min_improvement": 0.2, "metric": None})
    assert config == RegisterConfig(metric="AP50", min_improvement=0.2, floor=0.3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("register: {flor: 0.2}", r"params.yaml: register: flor: Extra inputs"),
        ("register: {floor: high}", r"params.yaml: register: floor: .*got 'high'"),
        ("register: [1]", r"params.yaml: register: is a list"),
        ("prepare: {}", r"no section 'register'.*Sections: prepare"),
        ("register: {a", r"params.yaml: is not valid YAML"),
    ],
)
def test_a_mistake_in_the_params_file_is_named(tmp_path: Path, text: str, said: str) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(text)
    with pytest.raises(UserError, match=said):
        step_settings(RegisterConfig, "register", params, [])


def test_an_empty_section_means_the_defaults(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text("register:\n")
    assert section(params, "register") == {}


# Recipes


def test_a_recipe_comes_from_the_zoo_or_a_file_that_the_zoo_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    code, out, _ = call(capsys, "zoo", "tiny")
    assert code == 0
    path = tmp_path / "my.yaml"
    path.write_text(out)
    assert chosen_recipe(str(path), None, []) == chosen_recipe("tiny", None, []) == zoo.recipe("tiny")


def test_the_params_files_changes_apply_before_those_of_the_command_line(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(
        "train: {recipe: tiny, set: {training.seed: 3, training.optimizer.lr: 1.0e-05, loader.workers: 0}}"
    )
    recipe = chosen_recipe(None, params, ["training.seed=4"])
    assert (recipe.training.seed, recipe.training.optimizer.lr, recipe.loader.workers) == (4, 1e-5, 0)
    assert recipe.name == "tiny"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("train: {recipe: tiny, epochs: 3}", r"params.yaml: train: .*unknown field 'epochs'.*go under `set`"),
        ("train: {recipe: tiny, set: [1]}", r"train: set: .*valid dictionary"),
        ("train: {recipe: tiny, set: {training.epoch: 3}}", r"'training.epoch' does not exist.*epochs"),
        ("train: {recipe: tiny, set: {training.epochs: 0}}", r"training.epochs: .*greater than 0"),
        ("train: {recipe: small}", r"no recipe 'small'.*tiny"),
        ("train: {recipe: missing.yaml}", r"missing.yaml: no such file"),
        ("train: {}", r"no recipe is named"),
    ],
)
def test_a_mistake_in_the_recipe_is_named(tmp_path: Path, text: str, said: str) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(text)
    with pytest.raises(UserError, match=said):
        chosen_recipe(None, params, [])


def test_the_zoo_lists_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = call(capsys, "zoo")
    assert [line.split()[0] for line in out.splitlines()[1:]] == zoo.names()


# Data


def test_drawn_data_is_prepared_and_the_doctor_reports(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shapes, dataset = tmp_path / "shapes", tmp_path / "dataset"
    assert call(capsys, "sample-data", shapes, "-n", 10, "--seed", 1)[0] == 0
    splits = [
        (f"--{s}", shapes / s / "annotations.json", f"--{s}-images", shapes / s / "images") for s in ("train", "val")
    ]
    code, out, _ = call(capsys, "prepare", *splits[0], *splits[1], "-o", dataset)
    assert code == 0
    assert "train.images" in out
    assert Manifest.read(dataset, "dataset").digest in out
    code, report, _ = call(capsys, "doctor", dataset)
    assert code == 0
    # The tables of splits and classes are the same.
    tables = report.partition("\nObjects, ")[0], re.findall(r"\n[a-z]+ +\d+ \(\d+\)[^\n]*", report)
    assert len(tables[1]) == 5
    assert all(part in out for part in (tables[0], *tables[1]))
    assert all(name in report for name in ("circle", "square", "triangle", "star", "cross"))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--train", "a.json", "--val-images", "v"], "--val-images"),
        (["--params", "params.yaml", "--repo", "r"], "--repo"),
    ],
)
def test_an_option_that_nothing_uses_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], named: str
) -> None:
    """It would be ignored silently, and the dataset made from something else than was asked for."""
    code, _, err = call(capsys, "prepare", *options, "-o", tmp_path / "dataset")
    assert code == 2
    assert f"{named}: needs --" in err


def test_voc_and_yolo_are_recognised_and_merged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    shapes, dataset = tmp_path / "shapes", tmp_path / "dataset"
    draw_sample_data(shapes, 10, seed=1, sides=(48, 64))
    for split in ("train", "val"):
        coco = json.loads((shapes / split / "annotations.json").read_text())
        write_voc(coco, shapes / split / "images", tmp_path / "voc", split)
        write_yolo(coco, shapes / split / "images", tmp_path / "yolo", split)
    both = ["--train", tmp_path / "voc", "--train", tmp_path / "yolo" / "data.yaml"]
    code, _, err = call(capsys, "prepare", *both, "--val", tmp_path / "voc", "-o", dataset)
    assert code == 0, err
    assert "train.1.annotations" in Manifest.read(dataset, "dataset").inputs
    assert len(Split.open(dataset, "train")) == 16
    folders = ["--train-images", tmp_path / "voc" / "JPEGImages", "--train-images", tmp_path / "yolo"]
    same = call(capsys, "prepare", *both, *folders, "--val", tmp_path / "voc", "-o", tmp_path / "named")
    assert same[0] == 0, same[2]
    assert Manifest.read(tmp_path / "named", "dataset").digest == Manifest.read(dataset, "dataset").digest
    code, _, err = call(capsys, "prepare", *both, *both, *folders, "-o", dataset)
    assert code == 2
    assert "--train-images: is given 2 times for 4 --train" in err


def test_prepare_without_annotations_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, _, err = call(capsys, "prepare", "-o", tmp_path / "dataset")
    assert code == 2
    assert "Give --train" in err


# Processes


def test_predict_passes_its_options_on_and_says_what_it_found(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_images(tmp_path / "in", 2)
    write_clip(tmp_path / "clip.mp4", 5)
    registry = write_registry(tmp_path / "r", write_model(tmp_path / "model"))
    inputs = [tmp_path / "in", tmp_path / "clip.mp4"]
    options = ["-m", f"{registry}@champion", "-o", tmp_path / "out", "--score", 0, "--tta", "--tile", 32, "--frames", 3]
    code, out, _ = call(capsys, "predict", *inputs, *options, "--device", "cpu")
    assert code == 0
    assert "objects in 2 images and 3 frames of 1 video" in out
    written = json.loads((tmp_path / "out/predictions.json").read_text())
    # Tiles of images this small give more objects than the model by itself ever does.
    assert all(len(image["detections"]) > 20 for image in written["images"])
    code, _, err = call(capsys, "predict", *inputs, "-m", f"{registry}@v9", "-o", tmp_path / "out")
    assert code == 2
    assert "there is no version 'v9'" in err
    code, _, err = call(
        capsys, "predict", *inputs, "-m", tmp_path / "model", "-o", tmp_path / "out", "--device", "tpu9"
    )
    assert code == 2
    assert "device: 'tpu9' is not the name of a device" in err
