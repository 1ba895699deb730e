"""What a server begins with: what its folder holds, or a new cluster. Used by `server.consensus`, in the writer's thread."""

from __future__ import annotations

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Configuration, HardState, Restored, bootstrap_entry
from chowk.server.storage.port import Storage


def opened(storage: Storage, bootstrap: Configuration) -> Restored:
    """Open the storage; a blank one gets the first entry of a cluster with these members, if there are any."""
    restored = storage.open()
    if not restored.is_blank or not bootstrap.members:
        return restored
    hard_state = HardState(max(1, restored.hard_state.term), restored.hard_state.vote)
    first = bootstrap_entry(bootstrap)
    storage.persist([Persist(0, hard_state, None, (first,))])
    return Restored(hard_state, None, (first,))
