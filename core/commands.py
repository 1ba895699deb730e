"""Commands: the only things that change the replicated store. `server.rpc` checks and proposes them, Raft orders them,
`server.state` applies them. A command that could fail to apply must have been refused before it was proposed; one that
races (a lost CAS) applies to nothing and says so in its result.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Final

import msgspec

from chowk.core.records.ca import CAConfiguration, CARoot
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import AnyConfigEntry, SourceIntention
from chowk.core.records.coordinate import NodeCoordinate
from chowk.core.records.node import Node
from chowk.core.records.operation import Operation
from chowk.core.records.prepared_query import PreparedQuery
from chowk.core.records.service import NodeService
from chowk.core.records.session import Session
from chowk.core.server_options import Autopilot

COMMANDS_VERSION: Final = 4
"""What this release can apply. It grows by one with every release that has a new command, or a new field in one or in a
record that one carries: a server that passed over either would differ from the others for ever, and nobody would see it.
1: the catalog, intentions, config entries, CA, autopilot, KV and snapshots. 2: sessions, and the locks they hold. 3:
transactions, prepared queries, coordinates. 4: config entries of traffic management,
roots that are rotated out."""


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, array_like=False, tag_field="t"):
    """The base of all commands. `since` is the COMMANDS_VERSION that knows it first; `fields_since` that of fields which
    came later (a field at its default says nothing, so it asks for nothing)."""

    since: ClassVar[int] = 1
    fields_since: ClassVar[dict[str, int]] = {}

    @property
    def version(self) -> int:
        """The COMMANDS_VERSION that a server needs to apply this."""
        return newest(self, self.since, self.fields_since)


def newest(value: msgspec.Struct, since: int, fields_since: Mapping[str, int]) -> int:
    """The highest of `since` and the versions of the fields of `value` that are not at their defaults."""
    if not fields_since:
        return since
    defaults = _defaults(type(value))
    said = (version for name, version in fields_since.items() if getattr(value, name) != defaults[name])
    return max(since, *said, 0)


@cache
def _defaults(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """What each field is that nobody wrote. A field that came later always has such a value."""
    found = {field.name: field for field in msgspec.structs.fields(kind)}
    return {
        name: field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
        for name, field in found.items()
        if field.default is not msgspec.NODEFAULT or field.default_factory is not msgspec.NODEFAULT
    }


class Register(Command, frozen=True, kw_only=True, tag="register"):
    """Write a node, optionally one service of it, and checks. `skip_node_update` leaves an existing node as it is."""

    node: Node
    service: NodeService | None = None
    checks: tuple[HealthCheck, ...] = ()
    skip_node_update: bool = False


class Deregister(Command, frozen=True, kw_only=True, tag="deregister"):
    """Remove one check, else one service with its checks, else the node with all it has."""

    node: str
    service_id: str = ""
    check_id: str = ""


class UpsertConfigEntry(Command, frozen=True, kw_only=True, tag="config-upsert"):
    """Write a config entry. `cas` None: always; 0: only if absent; n: only if its modify_index is n."""

    entry: AnyConfigEntry
    cas: int | None = None

    @property
    def version(self) -> int:
        """That of the entry's kind and fields."""
        return newest(self.entry, self.entry.since, self.entry.fields_since)


class DeleteConfigEntry(Command, frozen=True, kw_only=True, tag="config-delete"):
    """Remove a config entry; `cas` as for UpsertConfigEntry."""

    kind: str
    name: str
    cas: int | None = None


class UpsertIntention(Command, frozen=True, kw_only=True, tag="intention-upsert"):
    """Write one source into the destination's service-intentions entry, making the entry when there is none."""

    destination: str
    source: SourceIntention


class DeleteIntention(Command, frozen=True, kw_only=True, tag="intention-delete"):
    """Remove one source; an entry that is left without sources goes too."""

    destination: str
    source: str


class SetCARoots(Command, frozen=True, kw_only=True, tag="ca-roots"):
    """Replace the set of trusted roots; `cas` is the modify_index of the roots it was computed from (0: none)."""

    roots: tuple[CARoot, ...]
    cas: int

    @property
    def version(self) -> int:
        """Roots that rotate came later than roots."""
        return 4 if any(root.rotated_out_at for root in self.roots) else self.since


class SetCAConfiguration(Command, frozen=True, kw_only=True, tag="ca-config"):
    """Replace the CA's configuration; `cas` as for SetCARoots, None: always."""

    configuration: CAConfiguration
    cas: int | None = None


class SetSystemMetadata(Command, frozen=True, kw_only=True, tag="metadata"):
    """A fact of the cluster: `cluster_id` (the trust domain's UUID) is set once, by the first leader."""

    key: str
    value: str
    only_if_absent: bool = True


class SetAutopilot(Command, frozen=True, kw_only=True, tag="autopilot"):
    """Replace the autopilot's settings; `cas` as for UpsertConfigEntry."""

    settings: Autopilot
    cas: int | None = None


class StageRestore(Command, frozen=True, kw_only=True, tag="restore-chunk"):
    """Keep one piece of a snapshot that is to replace the state: pieces of one `id` in order, from `number` 0 (which takes
    the place of an earlier, unfinished one). Changes nothing that anybody sees."""

    id: str
    number: int
    data: bytes


class FinishRestore(Command, frozen=True, kw_only=True, tag="restore-finish"):
    """Replace the state by the pieces of `id`, all of it at once, when there are `chunks` of them with this `sha256`; or
    forget them, with `abandon`."""

    id: str
    chunks: int = 0
    sha256: str = ""
    abandon: bool = False


class PutKey(Command, frozen=True, kw_only=True, tag="kv-put"):
    """Write a key. `cas` as for UpsertConfigEntry. At most one of: `acquire`, take the lock for that session (or keep it);
    `release`, let go of the lock that this session holds."""

    key: bytes
    value: bytes = b""
    flags: int = 0
    cas: int | None = None
    acquire: str = ""
    release: str = ""
    fields_since: ClassVar[dict[str, int]] = {"acquire": 2, "release": 2}


class DeleteKey(Command, frozen=True, kw_only=True, tag="kv-delete"):
    """Remove a key; with `cas` only if its modify_index is that (or it is gone already)."""

    key: bytes
    cas: int | None = None


class DeleteKeys(Command, frozen=True, kw_only=True, tag="kv-delete-prefix"):
    """Remove every key that begins with `prefix`."""

    prefix: bytes


class CreateSession(Command, frozen=True, kw_only=True, tag="session-create"):
    """Make a session; refused when its node or one of its checks is not there or not well."""

    session: Session
    since: ClassVar[int] = 2


class DestroySession(Command, frozen=True, kw_only=True, tag="session-destroy"):
    """End a session, whoever asks: its holder, or the leader when its TTL has passed."""

    id: str
    since: ClassVar[int] = 2


class Transaction(Command, frozen=True, kw_only=True, tag="txn"):
    """Do every operation, in order, at one index; or, when one of them fails, nothing at all."""

    operations: tuple[Operation, ...]
    since: ClassVar[int] = 3


class SetPreparedQuery(Command, frozen=True, kw_only=True, tag="query-set"):
    """Make a prepared query, or with `must_exist` replace the one of its id. Refused when its name is another's, or its
    session is none."""

    query: PreparedQuery
    must_exist: bool = False
    since: ClassVar[int] = 3


class DeletePreparedQuery(Command, frozen=True, kw_only=True, tag="query-delete"):
    """Remove a prepared query; refused when there is none."""

    id: str
    since: ClassVar[int] = 3


class UpdateCoordinates(Command, frozen=True, kw_only=True, tag="coordinates"):
    """Note where nodes are in the network; those that are not in the catalog are passed over."""

    coordinates: tuple[NodeCoordinate, ...]
    since: ClassVar[int] = 3


AnyCommand = (
    Register
    | Deregister
    | UpsertConfigEntry
    | DeleteConfigEntry
    | UpsertIntention
    | DeleteIntention
    | SetCARoots
    | SetCAConfiguration
    | SetSystemMetadata
    | SetAutopilot
    | StageRestore
    | FinishRestore
    | PutKey
    | DeleteKey
    | DeleteKeys
    | CreateSession
    | DestroySession
    | Transaction
    | SetPreparedQuery
    | DeletePreparedQuery
    | UpdateCoordinates
)


class Envelope(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a log entry holds: a command, and who asked for it the how-manieth time, so that a retry applies once.

    `client` is unique to a client's process; `sequence` grows by one a write; `time_s` is the proposer's wall clock (Unix
    seconds): the only clock `apply` may read. `version` is the command's: a server that knows less must not apply the entry,
    though it may be able to read it.
    """

    client: str
    sequence: int
    time_s: float
    command: AnyCommand
    version: int = 1


class Applied(msgspec.Struct, frozen=True, kw_only=True):
    """The result of applying a command: the index it applied at; `ok` is False when a CAS lost and nothing changed."""

    index: int
    ok: bool = True
    value: Any = None
