"""What the server knows, and what its faults are."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

KEY = "0123456789abcdef0123456789abcdef01234567"
ENTITY = "tester"
CREATED_AT = "2026-01-01T00:00:00Z"
PROJECT_NUMBER = 1  # Wanted, but not used, by wandb: all projects have it.

Fields = dict[str, Any]


@dataclass(frozen=True)
class Fault:
    """What goes wrong, where, and for which of the requests that come there.

    A request spoilt by `slow` or `cut` has its effect, but for an upload that was cut; after the others nothing is
    changed.

    Attributes:
        what: `refuse` closes the connection without an answer; `vanish` closes the listening socket and all
            connections too; `stall` never answers; `slow` answers `delay_s` late; `cut` closes the connection after
            half of the body of an upload, and after half of any other answer; a number is the HTTP status.
        where: `any`, `graphql`, `file_stream`, `upload`, `download` or the name of a GraphQL operation.
        after: So many matching requests are answered soundly first.
        count: So many are then spoilt; None for all.
        delay_s: How late `slow` answers.
    """

    what: Literal["refuse", "401", "429", "500", "slow", "stall", "cut", "vanish"]
    where: str = "any"
    after: int = 0
    count: int | None = None
    delay_s: float = 2.0


@dataclass
class Artifact:
    """One version of an artifact.

    Attributes:
        version: The number of the version; None until it is committed.
        aliases: Those it has; those it is to have, until it is committed.
        created_by: The name (id) of the run that logged it.
        manifest: The uploaded wandb_manifest.json.
    """

    id: str
    collection: str
    type: str
    version: int | None
    digest: str
    state: Literal["PENDING", "COMMITTED"]
    aliases: list[str]
    metadata: Fields
    description: str | None
    created_by: str | None
    entity: str
    project: str
    manifest: Fields | None = None
    manifest_file: Path | None = None

    @property
    def entries(self) -> dict[str, Fields]:
        """The entries of the manifest by their names."""
        return self.manifest["contents"] if self.manifest else {}


@dataclass
class Run:
    """One run.

    Attributes:
        name: What wandb's Python side calls its id.
        config: The plain values.
        wandb_config: wandb's own entry `_wandb` of the config.
        history: The logged rows, wandb's own columns (`_step` ...) among them.
        events: The system metrics.
        console: The lines of output.log as they were streamed.
        files: The uploaded files: wandb-metadata.json, config.yaml, output.log ...
        exit_code: None until the run has said that it is complete.
    """

    name: str
    project: str
    entity: str
    config: Fields = field(default_factory=dict)
    wandb_config: Fields = field(default_factory=dict)
    summary: Fields = field(default_factory=dict)
    history: list[Fields] = field(default_factory=list)
    events: list[Fields] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    display_name: str | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    sweep: str | None = None
    tags: list[str] = field(default_factory=list)
    state: Literal["running", "finished", "failed"] = "running"
    exit_code: int | None = None


@dataclass
class Sweep:
    """One sweep, which gives a single run to its agents.

    Attributes:
        run: The name of the run given out; None before.
    """

    name: str
    project: str
    entity: str
    config: str
    run: str | None = None


class Refusal(Exception):
    """An answer of GraphQL's: the operation is refused for a reason that the client is told."""


class UnknownOperation(Refusal):
    """The operation is not served."""
