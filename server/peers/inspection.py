"""What may be wrong with a Raft message that came from outside. Pure; called by `inbox` and `arrivals` before the core is.

The core trusts its messages to be what a server says; a broken or hostile server must not be able to break this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Final

from chowk.server.driver.proposals import ENTRY_BYTES_MAX
from chowk.server.raft.messages import (
    AppendRequest,
    AppendResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    ReadIndexRequest,
    ReadIndexResponse,
    VoteRequest,
)
from chowk.server.raft.records import Configuration, Entry, EntryKind

NUMBER_MAX: Final = 2**62
"""Terms, indexes and rounds: far from what they can be counted up to, and from what storage can write."""
ENTRIES_MAX: Final = 65_536
MEMBERS_MAX: Final = 256
_NUMBERS: Final = ("term", "last_index", "last_term", "prev_index", "prev_term", "commit", "round", "match",
                   "hint_index", "hint_term", "context", "index")  # fmt: skip


def fault(message: Message, sender: str, target: str) -> str:
    """Why `message` is refused; "" when it is one that `sender` may say to `target`."""
    if message.sender != sender:
        return f"a message of {message.sender} came from {sender}"
    if message.target != target:
        return f"a message for {message.target} came to {target}"
    for name in _numbers(type(message)):
        if not 0 <= getattr(message, name) <= NUMBER_MAX:
            return f"its {name} is not a number that can be"
    if message.term < 1:
        return "it is of no term"
    match message:
        case AppendRequest():
            return _append_fault(message)
        case InstallSnapshot():
            return _snapshot_fault(message)
        case PreVoteRequest() | VoteRequest():
            return "" if message.last_term <= message.term else "its log is of a later term than itself"
        case AppendResponse() | ReadIndexRequest() | ReadIndexResponse():
            return ""
    return ""


@cache
def _numbers(kind: type[Message]) -> tuple[str, ...]:
    """Which of _NUMBERS a kind of message has."""
    return tuple(name for name in _NUMBERS if name in kind.__struct_fields__)


def _append_fault(message: AppendRequest) -> str:
    if bool(message.prev_index) != bool(message.prev_term) or message.prev_term > message.term:
        return "the entry it goes on from cannot be"
    if len(message.entries) > ENTRIES_MAX:
        return f"it has {len(message.entries)} entries; {ENTRIES_MAX} is the most"
    return _entries_fault(message.entries, message.prev_index, message.prev_term, message.term)


def _entries_fault(entries: Sequence[Entry], index: int, term: int, term_max: int) -> str:
    for entry in entries:
        index += 1
        if entry.index != index:
            return f"entry {entry.index} stands where {index} should"
        if not term <= entry.term <= term_max or entry.term < 1:
            return f"entry {index} is of term {entry.term}, after one of {term} and in a message of {term_max}"
        term = entry.term
        if len(entry.data) > ENTRY_BYTES_MAX:
            return f"entry {index} has {len(entry.data)} bytes; {ENTRY_BYTES_MAX} is the most"
        if entry.kind is EntryKind.CONFIGURATION:
            wrong = _data_fault(entry.data)
            if wrong:
                return f"entry {index}: {wrong}"
    return ""


def _data_fault(data: bytes) -> str:
    try:
        return configuration_fault(Configuration.decode(data))
    except ValueError as error:
        return f"its configuration cannot be read: {error}"


def configuration_fault(configuration: Configuration) -> str:
    """Why a cluster cannot have this configuration; "" when it can."""
    ids = [member.id for member in configuration.members]
    if not configuration.voters:
        return "the configuration has no voter"
    if len(ids) > MEMBERS_MAX:
        return f"the configuration has {len(ids)} members; {MEMBERS_MAX} is the most"
    if ids != sorted(set(ids)) or not all(ids):
        return "the configuration's members are not sorted, each once"
    return ""


def _snapshot_fault(message: InstallSnapshot) -> str:
    meta = message.meta
    if not 1 <= meta.index <= NUMBER_MAX or not 1 <= meta.term <= message.term:
        return f"a snapshot of entry {meta.index}, term {meta.term} cannot be"
    if not 0 <= meta.configuration_index <= meta.index:
        return "the snapshot's configuration is of a later entry than itself"
    return configuration_fault(meta.configuration)
