"""A snapshot that takes the state's place, through the log: its pieces are entries like any other, the last replaces all.

So every server has the same pieces at the same index, a leader that dies in the middle leaves nothing half done, and a
snapshot of the log that is taken meanwhile holds the pieces so far. Each piece is decoded when it comes; replacing is quick.

What is kept of the present state: the cluster's name, its CA's roots and configuration (no snapshot has the CA's key, and
leaves go on being valid), and which writes were applied (a retry of one from before the restore must not undo it). Indexes
never go back: what is restored counts as changed by the restore, for watchers and for compare-and-set. Called by `machine`.
"""

from __future__ import annotations

from typing import Final

from chowk.core.commands import FinishRestore, StageRestore
from chowk.server.state.snapshot import Loading
from chowk.server.state.staging import Staging
from chowk.server.state.store import Store

RESTORE_BYTES_MAX: Final = 1024 * 1024 * 1024
"""Of one snapshot; the pieces stay in memory until it is finished or abandoned."""
ANOTHER: Final = "another restore has begun, or this one was given up: nothing was changed"


def stage(store: Store, index: int, command: StageRestore) -> bool | str:
    """Keep a piece. A text says why the restore cannot go on; nothing was changed then."""
    if command.number == 0:
        store.staging = Staging(command.id, Loading())
    staging = store.staging
    if staging is None or staging.id != command.id:
        return ANOTHER
    if command.number < len(staging.pieces):
        return True
    if command.number > len(staging.pieces):
        store.staging = None
        return "a piece of the snapshot is missing: nothing was changed"
    if staging.size + len(command.data) > RESTORE_BYTES_MAX:
        store.staging = None
        return f"a snapshot of over {RESTORE_BYTES_MAX} bytes is not restored: nothing was changed"
    try:
        staging.add(index, command.data)
    except ValueError as error:
        store.staging = None
        return f"this snapshot cannot be restored: {error}; nothing was changed"
    return True


def finish(store: Store, index: int, command: FinishRestore) -> bool | str:
    """Replace the state. A text says why not; nothing was changed then."""
    staging = store.staging
    if staging is None or staging.id != command.id:
        return True if command.abandon else ANOTHER
    store.staging = None
    if command.abandon:
        return True
    if len(staging.pieces) != command.chunks or staging.digest.hexdigest() != command.sha256:
        return "the pieces are not the snapshot that was sent: nothing was changed"
    try:
        restored = staging.loading.finish()
    except ValueError as error:
        return f"this snapshot cannot be restored: {error}; nothing was changed"
    restored.index = restored.restored_at = index
    restored.sessions, restored.outcomes = store.sessions, store.outcomes
    restored.commands = max(restored.commands, store.commands)
    restored.roots, restored.roots_index = store.roots, store.roots_index
    restored.ca_configuration = store.ca_configuration
    restored.metadata = store.metadata
    store.become(restored)
    return True
