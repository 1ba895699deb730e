"""`apply`: one log entry in, a result and events out. Total, deterministic, without a clock of its own.

`StoreMachine` is the `server.port.StateMachine` that consensus drives; whoever wants to know of changes calls `follow`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from chowk.core import codec
from chowk.core.commands import (
    COMMANDS_VERSION,
    AnyCommand,
    Applied,
    CreateSession,
    DeleteConfigEntry,
    DeleteIntention,
    DeleteKey,
    DeleteKeys,
    DeletePreparedQuery,
    Deregister,
    DestroySession,
    Envelope,
    FinishRestore,
    PutKey,
    Register,
    SetAutopilot,
    SetCAConfiguration,
    SetCARoots,
    SetPreparedQuery,
    SetSystemMetadata,
    StageRestore,
    Transaction,
    UpdateCoordinates,
    UpsertConfigEntry,
    UpsertIntention,
)  # fmt: skip
from chowk.core.events import Event, Topic
from chowk.core.records.operation import Outcome
from chowk.server.state import authority, catalog, coordinates, entries, kv, prepared_query, restore, session
from chowk.server.state.changes import Changes
from chowk.server.state.sessions import Forgotten
from chowk.server.state.snapshot import freeze, thaw
from chowk.server.state.store import Store
from chowk.server.state.transaction import apply_transaction

FORGOTTEN = "this write is a retry from too long ago to know whether it was applied"


class NewerEntry(ValueError):
    """A committed entry that this release cannot apply: it was written by a newer one, and skipping it would make this
    server differ from the others."""

    def __init__(self, index: int, why: str) -> None:
        super().__init__(
            f"entry {index} of the log was written by a newer release of chowk than this one ({why}). Nothing is lost: "
            "install the other servers' release here and start again"
        )


class Commit:
    """What one applied entry did: `topics` is everything that changed, also what has no event."""

    def __init__(self, index: int, events: tuple[Event, ...], topics: frozenset[Topic]) -> None:
        self.index = index
        self.events = events
        self.topics = topics


def apply(store: Store, index: int, envelope: Envelope) -> tuple[Applied, Commit]:
    """Apply a command at `index`. A retry of an applied one gets that one's result and changes nothing."""
    store.index = index
    nothing = Commit(index, (), frozenset())
    known = store.sessions.recall(envelope.client, envelope.sequence)
    if isinstance(known, Forgotten):
        return Applied(index=index, ok=False, value=FORGOTTEN), nothing
    if known is not None:
        return store.outcomes.recall(envelope.client, envelope.sequence, known), nothing
    changes = Changes(store, index, envelope.time_s)
    done = _perform(store, changes, envelope.command)
    events, topics = changes.finish()
    if isinstance(done, Outcome):
        result = Applied(index=index, ok=not done.errors, value=done)
        store.outcomes.remember(envelope.client, envelope.sequence, done)
    else:
        result = Applied(index=index, ok=done is True, value=done if isinstance(done, str) else None)
    store.sessions.remember(envelope.client, envelope.sequence, result)
    return result, Commit(index, events, topics)


def _perform(store: Store, changes: Changes, command: AnyCommand) -> bool | str | Outcome:
    """True: done; False: a compare-and-set or a lock was lost; a text: refused, for that reason."""
    match command:
        case Transaction():
            return apply_transaction(store, changes, command)
        case SetPreparedQuery():
            return prepared_query.set_query(store, changes, command)
        case DeletePreparedQuery():
            return prepared_query.delete_query(store, changes, command)
        case SetAutopilot():
            return authority.set_autopilot(store, changes, command)
        case StageRestore():
            return restore.stage(store, changes.index, command)
        case FinishRestore():
            return restore.finish(store, changes.index, command)
        case PutKey():
            return kv.put_key(store, changes, command)
        case DeleteKey():
            return kv.delete_key(store, changes, command)
        case DeleteKeys():
            kv.delete_keys(store, changes, command)
        case CreateSession():
            return session.create_session(store, changes, command)
        case DestroySession():
            session.destroy_session(store, changes, command)
        case UpdateCoordinates():
            coordinates.update(store, changes, command)
        case Register():
            catalog.register(store, changes, command)
        case Deregister():
            catalog.deregister(store, changes, command)
        case UpsertIntention():
            entries.upsert_intention(store, changes, command)
        case DeleteIntention():
            entries.delete_intention(store, changes, command)
        case UpsertConfigEntry():
            return entries.upsert_entry(store, changes, command)
        case DeleteConfigEntry():
            return entries.delete_entry(store, changes, command)
        case SetCARoots():
            return authority.set_roots(store, changes, command)
        case SetCAConfiguration():
            return authority.set_configuration(store, changes, command)
        case SetSystemMetadata():
            return authority.set_metadata(store, changes, command)
    return True


class StoreMachine:
    """The store as a replicated state machine. `store` is replaced by a restore: never keep a reference to it."""

    def __init__(self) -> None:
        self.store = Store()
        self._on_commit: list[Callable[[Commit], None]] = []
        self._on_restore: list[Callable[[], None]] = []

    def follow(self, on_commit: Callable[[Commit], None], on_restore: Callable[[], None]) -> None:
        """Call back after each applied entry, and after a snapshot replaced everything."""
        self._on_commit.append(on_commit)
        self._on_restore.append(on_restore)

    def apply(self, index: int, entry: bytes) -> Applied:
        """Apply one log entry. NewerEntry when this release cannot; nothing changed then."""
        try:
            envelope = codec.unpack(entry, Envelope)
        except ValueError as error:
            raise NewerEntry(index, str(error)) from error
        if envelope.version > COMMANDS_VERSION:
            raise NewerEntry(index, f"its version is {envelope.version}, this release knows {COMMANDS_VERSION}")
        self.store.commands = max(self.store.commands, envelope.version)
        result, commit = apply(self.store, index, envelope)
        if result.ok and isinstance(envelope.command, FinishRestore) and not envelope.command.abandon:
            self._tell_restored()
        for callback in self._on_commit:
            callback(commit)
        return result

    def snapshot(self) -> Callable[[], Iterable[bytes]]:
        """Freeze the state; the function returned yields its bytes and may run in a thread."""
        return freeze(self.store)

    def thaw(self, chunks: Iterable[bytes]) -> Callable[[], None]:
        """Read a snapshot, in any thread; the function returned replaces the state by it. ValueError when it is none."""
        return partial(self._replace, thaw(chunks))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Replace the state by a snapshot's. ValueError when it is not one; the state is then as it was."""
        self.thaw(chunks)()

    def _replace(self, store: Store) -> None:
        store.take_over(self.store)
        self.store = store
        self._tell_restored()

    def _tell_restored(self) -> None:
        for callback in self._on_restore:
            callback()
