"""The folder of a run's checkpoints, from which the run resumes exactly.

It belongs to one run and holds

    run.json                 identity of the run (dataset, recipe, number of processes), whether it has finished, and
                             its identities before it was extended
    step-00000120/state.pt   weights, optimiser, average, position in the data, statistics; full tensors
    step-00000120/info.json  the digest of state.pt, its step, and the digest of the run's identity
    metrics.jsonl            the metrics so far
    hangs/rank-0             what each process was doing when one hung, if NCCL wrote it

Random states are not saved: they are derived from the position (see `randomness`), as is the learning rate.
Checkpoints are written atomically, verified when they are read, and read without executing code.
"""

from __future__ import annotations

import pickle
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from codetr.core.errors import UserError
from codetr.core.files import atomic_directory, read_json, sha256_file, sha256_json, write_json
from codetr.core.settings import without
from codetr.core.system.temporaries import remove_all_leftovers

RUN = "run.json"
STATE = "state.pt"
INFO = "info.json"
PREFIX = "step-"
LOCK = ".lock"
"""The file that a run locks while it uses the folder."""
HANGS = "hangs"
"""The folder in which NCCL writes what each process was doing when one of them hung."""
_OF_EVERY_RUN = frozenset({LOCK, HANGS})
"""What is there before a run has claimed the folder."""


class CheckpointFolder:
    """The checkpoints of one run. Only rank 0 writes; every rank reads.

    Args:
        folder: of this run alone.
        keep: how many of the newest checkpoints are kept.
    """

    def __init__(self, folder: Path, *, keep: int) -> None:
        self.folder = folder
        self._keep = keep
        self._run: str | None = None
        self._earlier: tuple[str, ...] = ()

    def identity(self) -> dict[str, Any] | None:
        """Return the identity of the run that the folder is assigned to; None if there is none."""
        path = self.folder / RUN
        run = read_json(path) if path.is_file() else None
        identity = run.get("identity") if isinstance(run, dict) else None
        return identity if isinstance(identity, dict) else None

    def claim(self, identity: Mapping[str, Any], *, discard: bool = False) -> None:
        """Assign the folder to the run with this identity, or confirm that it is already assigned to it.

        The folder of another, finished run is emptied: its model is published. That of an unfinished run is refused.

        Args:
            identity: a JSON object of everything that decides the run's result.
            discard: empty the folder of another, unfinished run too.

        Raises:
            UserError: the folder belongs to another, unfinished run (the message names the fields that differ), or
                holds other files.
        """
        self._run = sha256_json(dict(identity))
        path = self.folder / RUN
        if not path.exists():
            if self.folder.exists() and any(entry.name not in _OF_EVERY_RUN for entry in self.folder.iterdir()):
                hint = "Choose an empty or a new folder for checkpoints."
                raise UserError(f"is not empty and holds no {RUN}", where=str(self.folder), hint=hint)
        else:
            run = read_json(path)
            if not isinstance(run, dict) or not isinstance(run.get("identity"), dict):
                raise UserError("does not describe a training run", where=str(path))
            if run["identity"] == identity:
                self._earlier = tuple(map(sha256_json, run.get("extended", ())))
                remove_all_leftovers(self.folder, sole_writer=True)
                return
            if not run.get("finished") and not discard:
                changes = "; ".join(differences(run["identity"], identity))
                raise UserError(
                    f"belongs to an unfinished run of another configuration ({changes})",
                    where=str(self.folder),
                    hint="Give this run another folder, finish the other run with its settings, or discard that run "
                    "with --overwrite.",
                )
            for entry in self.folder.iterdir():
                if entry.name not in _OF_EVERY_RUN:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        write_json(path, {"identity": dict(identity), "finished": False})

    def extend(self, identity: Mapping[str, Any], settings: Sequence[str]) -> None:
        """Assign the folder of a run to its extension, which continues from the run's newest checkpoint.

        Args:
            identity: of the extension.
            settings: dotted paths of what may differ from the identity of the run.

        Raises:
            UserError: there is no run with a checkpoint, or it differs in something else.
        """
        earlier = self.identity()
        if earlier is None or not self.steps():
            hint = "Start the run without --extend; or start another one from the trained weights, with init_from."
            raise UserError("holds no checkpoint of a run to extend", where=str(self.folder), hint=hint)
        if earlier == identity:
            return
        if changes := differences(without(earlier, settings), without(dict(identity), settings)):
            raise UserError(
                f"a run is extended with its other settings unchanged ({'; '.join(changes)})",
                where=str(self.folder),
                hint=f"Only these may differ: {', '.join(path.partition('.')[2] for path in settings)}.",
            )
        extended = read_json(self.folder / RUN).get("extended", [])
        write_json(self.folder / RUN, {"identity": dict(identity), "finished": False, "extended": [*extended, earlier]})

    def extended(self) -> list[dict[str, Any]]:
        """Return the identities of the run before it was extended, the first one first."""
        path = self.folder / RUN
        return list(read_json(path).get("extended", ())) if path.is_file() else []

    def finish(self) -> None:
        """Record that the run's model is published."""
        run = read_json(self.folder / RUN)
        write_json(self.folder / RUN, {**run, "finished": True})

    def save(self, state: Mapping[str, Any], *, step: int, best_step: int | None) -> Path:
        """Write a checkpoint, then remove all but the newest `keep` and the best.

        Args:
            state: nested dicts and lists of tensors, numbers and strings.
            step: optimiser steps done.
            best_step: step of the checkpoint with the best validation so far, which is kept.

        Raises:
            OSError: it cannot be written, because the disk is full for instance. Earlier checkpoints are unchanged.
        """
        path = self._path(step)
        with atomic_directory(path) as temporary:
            # A stream: of a file that it opens itself PyTorch does not say why it could not write.
            with (temporary / STATE).open("wb") as stream:
                torch.save(dict(state), stream)
            info = {"step": step, "digest": sha256_file(temporary / STATE), "run": self._run}
            write_json(temporary / INFO, info)
        for old in self.steps()[: -self._keep]:
            if old != best_step:
                shutil.rmtree(self._path(old))
        return path

    def newest(self) -> int | None:
        """Return the step of the newest sound checkpoint, None without checkpoints. Damaged ones are renamed.

        Raises:
            UserError: there are checkpoints, and all are damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            damage = self._damage(step)
            if damage is None:
                return step
            path = self._path(step)
            renamed = path.with_name(f"damaged-{path.name}")
            shutil.rmtree(renamed, ignore_errors=True)
            path.rename(renamed)
            message = f"{path}: {damage}; renamed to {renamed.name}, trying the previous checkpoint"
            warnings.warn(message, stacklevel=2)
        if steps:
            raise UserError(
                "every checkpoint is damaged",
                where=str(self.folder),
                hint="Restore the folder, or delete it to start the run from the beginning.",
            )
        return None

    def precedes_extension(self, step: int) -> bool:
        """Return whether a checkpoint was saved before the run of this folder, which is claimed, was extended."""
        info = read_json(self._path(step) / INFO)
        return info.get("run") in self._earlier

    def load(self, step: int) -> dict[str, Any]:
        """Load the checkpoint of `step` to the CPU.

        Raises:
            UserError: it is missing or damaged, or holds more than plain data.
        """
        damage = self._damage(step)
        path = self._path(step) / STATE
        if damage is not None:
            hint = "All processes of a run must see the same checkpoint folder."
            raise UserError(damage, where=str(path), hint=hint)
        try:
            # Mapped, not read: the processes of a machine share the memory, and each copies only its shard.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
            raise UserError(f"cannot be read as a checkpoint ({error})", where=str(path)) from None

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints in the folder, ascending."""
        names = (entry.name.removeprefix(PREFIX) for entry in self.folder.glob(f"{PREFIX}*") if entry.is_dir())
        return sorted(int(name) for name in names if name.isdigit())

    def _path(self, step: int) -> Path:
        return self.folder / f"{PREFIX}{step:08d}"

    def _damage(self, step: int) -> str | None:
        """Return what is wrong with a checkpoint's files, or None."""
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
        # Processes that only read have not claimed the folder; the one that did has checked it.
        if self._run is not None and info.get("run") not in (self._run, *self._earlier):
            return "belongs to another run"
        return None


def differences(old: Any, new: Any, path: str = "") -> list[str]:
    """List the leaves in which two JSON values differ, as "a.b: 1 there, 2 here"."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = [*old, *(key for key in new if key not in old)]
        return [line for key in keys for line in differences(old.get(key), new.get(key), f"{path}.{key}".lstrip("."))]
    return [] if old == new else [f"{path}: {old!r} there, {new!r} here"]
