"""Every command on a disk that fails at each write in turn: one line, exit code 70, nothing half written.

By default a few of the writes of each command are tried. CODETR_TEST_THOROUGH=1 tries all, with all kinds of errors.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from pathlib import Path

import pytest

from codetr.data.synthetic import draw_sample_data
from codetr.registry.store import Registry
from tests.support.command import call
from tests.support.failing_files import failing_files
from tests.support.models.small_models import write_images, write_model
from tests.support.registry.registry_folders import MakeCandidate

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
) -> None:
    """Run a command with failing writes until it succeeds; `output` is what it was before, or what it becomes."""
    for _ in range(2):  # the second time an earlier result is replaced
        with failing_files(root, 10**9) as counted:
            code, _, err = call(capsys, *command)
        assert code == 0, err
    finished = snapshot(output) if output.is_dir() else {}
    step = max(1, counted.writes // TRIED)
    for number, expected in ERRORS.items():
        for first in range(0, counted.writes, step):
            with failing_files(root, first, number) as files:
                code, _, err = call(capsys, *command)
            where = f"write {first} of {counted.writes} fails with {errno.errorcode[number]}: {err}"
            assert files.failed, where
            assert code == expected, where
            assert "Traceback" not in err, where
            assert err.splitlines()[-1].startswith("Error: "), where
            assert ".tmp" not in err, where
            leftovers = [path for path in root.rglob(".*") if path.name.endswith((".tmp", ".old", ".lock"))]
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
