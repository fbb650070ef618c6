"""Every command on a disk that fails at each write in turn: one line, exit code 70, nothing half written.

By default a few of the writes of each command are tried. CODETR_TEST_THOROUGH=1 tries all, with all kinds of errors.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from codetr.data.config import LoaderConfig
from codetr.data.synthetic import draw_sample_data
from codetr.registry.store import Registry
from codetr.training.config import TrainingConfig
from tests.support.command import call
from tests.support.failing_files import failing_files
from tests.support.models.small_models import write_dataset, write_images, write_model
from tests.support.registry.registry_folders import MakeCandidate
from tests.support.training.runs import RECIPE

pytestmark = pytest.mark.slow

THOROUGH = bool(os.environ.get("CODETR_TEST_THOROUGH"))
TRIED = 10**9 if THOROUGH else 2
ERRORS = (
    {errno.ENOSPC: 70, errno.EIO: 70, errno.EACCES: 2, errno.EROFS: 2, errno.ENAMETOOLONG: 2}
    if THOROUGH
    else {errno.ENOSPC: 70}
)


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def walk(
    capsys: pytest.CaptureFixture[str],
    root: Path,
    command: list[object],
    output: Path,
    *,
    anew: Sequence[Path] = (),
    calls: int = 2,
) -> None:
    """Run a command with failing writes until it succeeds; `output` is what it was before, or what it becomes.

    Args:
        capsys: reads what is printed.
        root: the disk that fails.
        command: the arguments of `codetr`.
        output: a folder with a result, which appears complete or not at all.
        anew: folders that are removed before each call, for a command that does nothing where it has been finished.
        calls: how often the command succeeds first; the second time, it replaces an earlier result.
    """
    for _ in range(calls):
        with failing_files(root, 10**9) as counted:
            code, _, err = call(capsys, *command)
        assert code == 0, err
    finished = snapshot(output) if output.is_dir() else {}
    step = max(1, -(-counted.writes // TRIED))
    for number, expected in ERRORS.items():
        for first in range(0, counted.writes, step):
            for folder in anew:
                shutil.rmtree(folder, ignore_errors=True)
            with failing_files(root, first, number) as files:
                code, _, err = call(capsys, *command)
            where = f"write {first} of {counted.writes} fails with {errno.errorcode[number]}: {err}"
            assert files.failed, where
            assert code == expected, where
            assert "Traceback" not in err, where
            assert err.splitlines()[-1].startswith("Error: "), where
            assert ".tmp" not in err, where
            leftovers = [path for path in root.rglob(".?*.*") if path.name.endswith((".tmp", ".old", ".lock"))]
            assert not leftovers, where
            if output.is_dir() and finished:
                assert snapshot(output).keys() == finished.keys(), where


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "shapes"
    draw_sample_data(folder, images=4, seed=1)
    return folder


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    return tmp_path / "disk"


def test_sample_data(capsys: pytest.CaptureFixture[str], disk: Path) -> None:
    walk(capsys, disk, ["sample-data", disk / "shapes", "--images", 2], disk / "shapes")


def test_prepare(capsys: pytest.CaptureFixture[str], disk: Path, shapes: Path) -> None:
    train = ["--train", shapes / "train" / "annotations.json", "--images", shapes / "train" / "images"]
    walk(
        capsys, disk, ["prepare", *train, "--set", "val_fraction=0.5", "-o", disk / "a" / "dataset"], disk / "a/dataset"
    )


def test_doctor(capsys: pytest.CaptureFixture[str], disk: Path, shapes: Path) -> None:
    given = ["--train", shapes / "train" / "annotations.json", "--images", shapes / "train" / "images"]
    reports = ["--html", disk / "a" / "doctor.html", "--json", disk / "a" / "doctor.json"]
    walk(capsys, disk, ["doctor", *given, *reports], disk / "a")


def test_convert(capsys: pytest.CaptureFixture[str], disk: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    walk(capsys, disk, ["convert", "--to-official", model, "-o", disk / "a" / "model.pth"], disk / "a")


def test_a_file_that_reaches_the_limit_of_sizes(capsys: pytest.CaptureFixture[str], disk: Path, tmp_path: Path) -> None:
    """PyTorch's writer then raises an error of its own, in the middle of the file."""
    model = write_model(tmp_path / "model")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        code, _, err = call(capsys, "convert", "--to-official", model, "-o", disk / "model.pth")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 70
    assert f"{disk / 'model.pth'}: " in err
    assert os.listdir(disk) == []


def test_predict(capsys: pytest.CaptureFixture[str], disk: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "images", 2)
    model = write_model(tmp_path / "model")
    walk(capsys, disk, ["predict", "-m", model, "-o", disk / "out", tmp_path / "images"], disk / "out")


def train_command(folder: Path, disk: Path, workers: int) -> list[object]:
    """Return the command for one epoch of a very small detector, whose outputs are on the disk."""
    dataset, recipe = write_dataset(folder / "source", 2), folder / "recipe.yaml"
    settings = {
        "loader": LoaderConfig(batch_size=1, workers=workers),
        "training": TrainingConfig(epochs=1, accumulate=2, validate_every=0),
    }
    recipe.write_text(yaml.safe_dump(RECIPE.model_copy(update=settings).model_dump(mode="json")))
    outputs = ["-o", disk / "model", "--checkpoints", disk / "checkpoints"]
    return ["train", "--recipe", recipe, "-d", dataset, *outputs]


def test_train(capsys: pytest.CaptureFixture[str], disk: Path, tmp_path: Path) -> None:
    outputs = [disk / "model", disk / "checkpoints"]
    walk(capsys, disk, train_command(tmp_path, disk, 0), outputs[0], anew=outputs, calls=1)


def test_train_with_a_limit_of_file_sizes(capsys: pytest.CaptureFixture[str], disk: Path, tmp_path: Path) -> None:
    """Neither a batch nor a checkpoint fits into a file then: `ulimit -f 40` was seen to hang."""
    command = train_command(tmp_path, disk, 1)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (40 << 10, limits[1]))
    try:
        code, _, err = call(capsys, *command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 70
    assert "ulimit -f" in err.splitlines()[-1]
    assert f"{disk / 'checkpoints' / 'step-00000001'}: " in err


def test_evaluate_and_compare(capsys: pytest.CaptureFixture[str], disk: Path, tmp_path: Path) -> None:
    dataset, model = write_dataset(tmp_path / "source", 2), write_model(tmp_path / "model")
    given = ["-m", model, "-d", dataset, "--set", "workers=0", "--set", "pictures=1"]
    evaluation = disk / "evaluation"
    walk(capsys, disk, ["evaluate", *given, "-o", evaluation], evaluation, calls=1)
    command = ["compare", evaluation, evaluation, "--resamples", 10, "-o", disk / "out"]
    walk(capsys, disk, command, disk / "out", calls=1)


@pytest.mark.skipif(not THOROUGH, reason="every try exports the detector anew, which takes many seconds")
def test_export(capsys: pytest.CaptureFixture[str], disk: Path, tmp_path: Path) -> None:
    model = write_model(tmp_path / "model")
    walk(capsys, disk, ["export", "-m", model, "-o", disk / "out", "--format", "torch"], disk / "out")


def test_register_moves_the_champion_last(
    capsys: pytest.CaptureFixture[str], disk: Path, make_candidate: MakeCandidate
) -> None:
    """A registration that fails after the champion moved was reported as one that did nothing."""
    candidates = [make_candidate(weights, ap=ap) for weights, ap in (("a", 0.4), ("b", 0.5))]
    fresh = disk / "fresh"
    arguments = [["-m", candidate.model, "-e", candidate.evaluation] for candidate in candidates]
    assert call(capsys, "register", *arguments[0], "-r", fresh, "-o", disk / "first")[0] == 0
    command = ["register", *arguments[1], "-r", disk / "registry", "-o", disk / "registration"]
    shutil.copytree(fresh, disk / "registry")
    with failing_files(disk, 10**9) as counted:
        assert call(capsys, *command)[0] == 0
    for first in range(0, counted.writes, 1 if THOROUGH else 3):
        for folder in ("registry", "registration"):
            shutil.rmtree(disk / folder, ignore_errors=True)
        shutil.copytree(fresh, disk / "registry")
        with failing_files(disk, first):
            code, _, err = call(capsys, *command)
        assert code == 70, f"{first}: {err}"
        assert "Traceback" not in err
        store = Registry.open(disk / "registry")
        # Nothing needs space between the journal's entry and the end but what was reserved.
        if store.aliases().champion == "v2":
            assert len(store.journal()) == 2
        code, _, err = call(capsys, *command)
        assert (code, store.aliases().champion) == (0, "v2"), "a repeated registration completes it"
        assert [version.name for version in store.versions()] == ["v1", "v2"]
        assert not [path for path in disk.rglob(".*") if path.name.endswith(".tmp")]


def test_an_output_that_cannot_be_written_registers_nothing(
    capsys: pytest.CaptureFixture[str], disk: Path, make_candidate: MakeCandidate
) -> None:
    candidate = make_candidate("a")
    command = ["register", "-m", candidate.model, "-e", candidate.evaluation, "-r", disk.parent / "registry"]
    for first in range(3):
        with failing_files(disk, first):
            code, _, err = call(capsys, *command, "-o", disk / "registration")
        assert code == 70
        assert "no space left" in err
        assert not (disk.parent / "registry").exists()


def test_rollback(capsys: pytest.CaptureFixture[str], disk: Path, make_candidate: MakeCandidate) -> None:
    registry = disk / "registry"
    for weights, ap in (("a", 0.4), ("b", 0.5)):
        candidate = make_candidate(weights, ap=ap)
        command = ["register", "-m", candidate.model, "-e", candidate.evaluation, "-r", registry, "-o", disk / weights]
        assert call(capsys, *command)[0] == 0
    walk(capsys, disk, ["registry", "rollback", registry, "--why", "x"], disk / "none")
