"""The records of a registry: versions, and the journal of the aliases."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from codetr.core.settings import Settings
from codetr.registry.gate import Verdict

JournalAction = Literal["promote", "refuse", "rollback"]


class Version(Settings):
    """A registered model with its evaluation.

    Attributes:
        number: 1, 2, 3, … in the order of registration; the version's name is "v" and this number.
        digest: of the digests of both manifests; identifies the content.
        model: digest of the model's manifest.
        evaluation: digest of the evaluation's manifest.
        at: when it was registered; UTC, ISO 8601.
        by: user and machine.
    """

    number: Annotated[int, Field(ge=1)]
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    model: str
    evaluation: str
    at: str
    by: str

    @property
    def name(self) -> str:
        """The name of the version, e.g. "v3"."""
        return f"v{self.number}"


class Aliases(Settings):
    """Names of the versions that are champion and previous champion; None if there is none."""

    champion: str | None = None
    previous: str | None = None


class JournalEntry(Settings):
    """One entry of the journal. `after` of the newest entry holds the current aliases.

    Attributes:
        serial: 1, 2, 3, … without gaps.
        action: "promote" and "refuse" are the gate's; "rollback" is a person's.
        version: the version it is about.
        before: the aliases before it.
        after: the aliases after it.
        why: the reason, for people.
        verdict: the gate's verdict; None for a rollback.
        at: when; UTC, ISO 8601.
        by: user and machine.
    """

    serial: Annotated[int, Field(ge=1)]
    action: JournalAction
    version: str
    before: Aliases
    after: Aliases
    why: str
    verdict: Verdict | None = None
    at: str
    by: str
