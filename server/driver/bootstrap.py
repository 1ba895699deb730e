"""What a server begins with: what its folder holds, or a new cluster. Used by `server.consensus`, in the writer's thread."""

from __future__ import annotations

from chowk.server.raft.effects import Persist
from chowk.server.raft.records import Configuration, HardState, Member, Restored, bootstrap_entry
from chowk.server.storage.errors import StorageError
from chowk.server.storage.port import Storage


def opened(storage: Storage) -> Restored:
    """Open the storage. StorageError when it is blank, but this server voted: who voted and has no log lost it."""
    restored = storage.open()
    if restored.is_blank and restored.hard_state.vote:
        raise StorageError(
            f"this server took part in an election (term {restored.hard_state.term}), but its log and snapshots are gone. "
            "Nothing was changed. Restore the folder `server` of data_dir from a backup; or move it away to begin with an "
            "empty catalog"
        )
    return restored


def founded(storage: Storage, configuration: Configuration, term: int) -> Restored:
    """Write the first entry of a new cluster's log to a blank storage; every one of its members writes the same.

    `term` is the one this server is in. A term is voted for only after that first entry is durable."""
    hard_state = HardState(max(1, term))
    first = bootstrap_entry(configuration)
    storage.persist([Persist(0, hard_state, None, (first,))])
    return Restored(hard_state, None, (first,))


def refuse_foreign(configuration: Configuration, member: Member) -> None:
    """A cluster of one whose one is another would wait for a leader for ever: StorageError, with what to do."""
    if len(configuration.members) == 1 and configuration.member(member.id) is None:
        owner = configuration.members[0].id
        raise StorageError(
            f"the data of this server belongs to the node with the id {owner}, but this node's id is {member.id}: "
            f"write {owner} to the file node-id in data_dir (or set node_id), or use another data_dir"
        )
