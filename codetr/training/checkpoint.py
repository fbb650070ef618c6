"""Checkpoints: everything a run needs to go on as if it had never stopped.

A folder of checkpoints belongs to one run and holds

    run.json                 what the run is: dataset, recipe, number of processes; whether it has finished
    step-00000120/state.pt   weights, optimiser, average, position in the data, statistics; all tensors whole
    step-00000120/info.json  the digest of state.pt and its position
    metrics.jsonl            the curves so far

Random states need no saving: they are derived from the position (see `randomness`), and so is the learning rate.
Every checkpoint appears whole or not at all, is verified when it is read, and is read without executing anything.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, read_json, sha256_file, write_json

RUN = "run.json"
STATE = "state.pt"
INFO = "info.json"
PREFIX = "step-"
LOCK = ".lock"


class CheckpointFolder:
    """The checkpoints of one run. Only rank 0 writes; every rank reads."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        """Args: a folder of its own for this run; how many of the newest checkpoints stay."""
        self.folder = folder
        self._keep = keep

    def claim(self, identity: Mapping[str, Any]) -> None:
        """Make the folder that of the run `identity`, or confirm that it is.

        A folder of another run that has finished is emptied: its model is published. One of another run that
        has not finished is refused.

        Args:
            identity: a JSON object of everything that decides the run's result.

        Raises:
            UserError: the folder belongs to another, unfinished run; the message says which fields differ. Or
                it holds other things than checkpoints.
        """
        path = self.folder / RUN
        if not path.exists():
            if self.folder.exists() and any(entry.name != LOCK for entry in self.folder.iterdir()):
                hint = "Choose an empty or a new folder for checkpoints."
                raise UserError(f"is not empty and holds no {RUN}", where=str(self.folder), hint=hint)
        else:
            run = read_json(path)
            if not isinstance(run, dict) or not isinstance(run.get("identity"), dict):
                raise UserError("does not describe a training run", where=str(path))
            if run["identity"] == identity:
                self._remove_leftovers()
                return
            if not run.get("finished"):
                changes = "; ".join(differences(run["identity"], identity))
                raise UserError(
                    f"belongs to an unfinished run of another configuration ({changes})",
                    where=str(self.folder),
                    hint="Give this run another folder, finish the other run with its own settings, or delete the "
                    "folder to give that run up.",
                )
            for entry in self.folder.iterdir():
                if entry.name != LOCK:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        write_json(path, {"identity": dict(identity), "finished": False})

    def finish(self) -> None:
        """Note that the run's model is published."""
        run = read_json(self.folder / RUN)
        write_json(self.folder / RUN, {**run, "finished": True})

    def save(self, state: Mapping[str, Any], *, step: int, best_step: int | None) -> Path:
        """Write a checkpoint, then remove those the policy does not keep.

        Args:
            state: nested dicts and lists of tensors, numbers and strings.
            step: optimiser steps done.
            best_step: step of the checkpoint with the best validation so far, which stays.

        Raises:
            UserError: it cannot be written (the disk is full, say). Earlier checkpoints are as they were.
        """
        path = self._path(step)
        try:
            with atomic_directory(path) as temporary:
                torch.save(dict(state), temporary / STATE)
                write_json(temporary / INFO, {"step": step, "digest": sha256_file(temporary / STATE)})
        except (OSError, RuntimeError) as error:  # torch's own writer raises RuntimeError when the disk is full
            hint = "Free some space and start again: the run goes on from the checkpoint before."
            raise UserError(f"cannot be written ({error})", where=str(path), hint=hint) from None
        for old in self.steps()[: -self._keep]:
            if old != best_step:
                shutil.rmtree(self._path(old))
        return path

    def newest(self) -> int | None:
        """Step of the newest sound checkpoint; None if there is none at all. Damaged ones are set aside.

        Raises:
            UserError: there are checkpoints, and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            damage = self._damage(step)
            if damage is None:
                return step
            path = self._path(step)
            aside = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)
            warnings.warn(f"{path}: {damage}; set aside, trying the checkpoint before it", stacklevel=2)
        if steps:
            raise UserError(
                "every checkpoint is damaged",
                where=str(self.folder),
                hint="Restore the folder, or delete it to start the run from the beginning.",
            )
        return None

    def load(self, step: int) -> dict[str, Any]:
        """Read the checkpoint of `step` to the CPU.

        Raises:
            UserError: it is missing, damaged, or holds anything but plain data.
        """
        damage = self._damage(step)
        path = self._path(step) / STATE
        if damage is not None:
            hint = "All processes of a run must see the same checkpoint folder."
            raise UserError(damage, where=str(path), hint=hint)
        try:
            # Mapped, not read: the processes of a machine share the memory, and each copies only its share.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise UserError(f"cannot be read as a checkpoint ({error})", where=str(path)) from None

    def steps(self) -> list[int]:
        """Steps of all checkpoints in the folder, ascending."""
        names = (entry.name.removeprefix(PREFIX) for entry in self.folder.glob(f"{PREFIX}*") if entry.is_dir())
        return sorted(int(name) for name in names if name.isdigit())

    def _path(self, step: int) -> Path:
        return self.folder / f"{PREFIX}{step:08d}"

    def _damage(self, step: int) -> str | None:
        """What is wrong with a checkpoint's files, or None."""
        path = self._path(step)
        try:
            info = read_json(path / INFO)
        except UserError as error:
            return str(error)
        if not (path / STATE).is_file():
            return f"holds no {STATE}"
        if not isinstance(info, dict) or info.get("step") != step:
            return f"{INFO} does not belong to it"
        if sha256_file(path / STATE) != info.get("digest"):
            return f"{STATE} differs from its digest"
        return None

    def _remove_leftovers(self) -> None:
        """Remove what a run that was killed while writing left behind.

        If it was killed while one checkpoint took the place of another of the same step, the old one comes back.
        """
        for entry in self.folder.glob(".*"):
            for replaced in self.folder.glob(f"{entry.name}/{PREFIX}*") if entry.name.endswith(".old") else ():
                if not (self.folder / replaced.name).exists():
                    replaced.rename(self.folder / replaced.name)
            if entry.name.endswith((".tmp", ".old")):
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


@contextmanager
def exclusive(folder: Path, *, patience: float = 60.0) -> Iterator[None]:
    """Keep other runs out of `folder` inside the block; the lock ends with the process, however it ends.

    Processes of a run that was just killed may take some seconds to notice, so a taken folder is tried again
    for a while. The lock is one of POSIX: unlike flock's it is not inherited by data-loader processes, which
    outlive a killed run for a moment.

    Args:
        folder: made if it does not exist.
        patience: seconds to keep trying.

    Raises:
        UserError: another run has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    end = time.monotonic() + patience
    told = False
    try:
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() > end:
                    hint = "Wait for it to end, stop it, or give this run another folder."
                    raise UserError("is in use by another training run", where=str(folder), hint=hint) from None
                if not told:
                    print(f"{folder} is in use by another training run: waiting for it to end", file=sys.stderr)
                    told = True
                time.sleep(0.2)
        yield
    finally:
        os.close(descriptor)


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """The leaves in which two JSON values differ, as "a.b: 1 there, 2 here"."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [f"{path}: {old!r} there, {new!r} here"]
