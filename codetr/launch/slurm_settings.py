"""What only Slurm is asked for."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from codetr.core.settings import Settings

Interpreter = Annotated[str, StringConstraints(pattern=r"^/[^\x00-\x1f]+$", max_length=1024)]

Line = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]+$", max_length=1000)]

SlurmValue = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f]+$", max_length=1000)]

OptionName = Annotated[str, StringConstraints(pattern=r"^[a-z][-a-z]*$", max_length=64)]

_TAKEN_OPTIONS = frozenset(
    {
        *("account", "array", "chdir", "comment", "constraint", "cpus-per-task", "dependency", "error"),
        *("gpus-per-node", "job-name", "mem", "no-requeue", "nodes", "ntasks", "ntasks-per-node", "open-mode"),
        *("output", "parsable", "partition", "qos", "requeue", "signal", "time", "wait", "wrap"),
    }
)
"""Options of `sbatch` that are set from elsewhere, or that would make another job of it."""


class SlurmSettings(Settings):
    """What Slurm is asked for beside nodes, cores, memory and time; see `man sbatch`.

    Attributes:
        partition: None for the site's default, as for the others.
        account: that is charged.
        qos: quality of service.
        constraint: features that a node must have.
        python: the interpreter with codetr on the nodes; None for the one that submits.
        setup: lines of shell that each node runs first, e.g. `module load cuda`.
        options: further long options of `sbatch`, by name.
    """

    partition: SlurmValue | None = None
    account: SlurmValue | None = None
    qos: SlurmValue | None = None
    constraint: SlurmValue | None = None
    python: Interpreter | None = None
    setup: tuple[Line, ...] = ()
    options: dict[OptionName, SlurmValue] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _options_of_others(self) -> Self:
        if taken := sorted(self.options.keys() & _TAKEN_OPTIONS):
            raise ValueError(f"options: '{taken[0]}' follows from other settings of this file")
        return self
