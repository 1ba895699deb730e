"""Raft messages as the words of scripts: what `raft_script` prints, and reads back."""

from __future__ import annotations

import itertools

from chowk.server.raft.messages import (
    AppendRequest,
    AppendResponse,
    InstallSnapshot,
    Message,
    PreVoteRequest,
    PreVoteResponse,
    ReadIndexRequest,
    ReadIndexResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from chowk.server.raft.records import Configuration, Entry, EntryKind, SnapshotMeta


def said(message: Message) -> str:
    """`s1 -> s2: append term 2 after 1/1 commit 1 round 1 [2/2 x]`."""
    return f"{message.sender} -> {message.target}: {_words(message)}"


def _words(message: Message) -> str:
    match message:
        case PreVoteRequest():
            return f"prevote? term {message.term} last {message.last_index}/{message.last_term}"
        case PreVoteResponse():
            return f"prevote {_yes(message.granted)} term {message.term}"
        case VoteRequest():
            handed = " transfer" if message.transfer else ""
            return f"vote? term {message.term} last {message.last_index}/{message.last_term}{handed}"
        case VoteResponse():
            return f"vote {_yes(message.granted)} term {message.term}"
        case AppendRequest():
            where = f"after {message.prev_index}/{message.prev_term} commit {message.commit} round {message.round}"
            return f"append term {message.term} {where} [{', '.join(entry_words(entry) for entry in message.entries)}]"
        case AppendResponse(success=True):
            return f"appended term {message.term} up to {message.match} round {message.round}"
        case AppendResponse():
            hint = f"{message.hint_index}/{message.hint_term}"
            return f"refused term {message.term} at {message.prev_index} try {hint} round {message.round}"
        case InstallSnapshot():
            return f"snapshot term {message.term} at {message.meta.index}/{message.meta.term}"
        case TimeoutNow():
            return f"stand-now term {message.term}"
        case ReadIndexRequest():
            return f"read? term {message.term}"
        case ReadIndexResponse():
            return f"read-at {message.index} term {message.term}"


def _yes(granted: bool) -> str:
    return "yes" if granted else "no"


def entry_words(entry: Entry) -> str:
    """`2/2 x`: index, term, and what it is."""
    match entry.kind:
        case EntryKind.NOOP:
            what = "noop"
        case EntryKind.CONFIGURATION:
            what = "members"
        case EntryKind.COMMAND:
            what = entry.data.decode()
    return f"{entry.index}/{entry.term} {what}"


def message_of(sender: str, target: str, words: str, members: Configuration) -> Message:
    """The message that these words are."""
    text, _bracket, inside = words.partition("[")
    tokens = text.split()
    numbers = dict(itertools.pairwise(tokens))
    envelope = {"sender": sender, "target": target, "term": int(numbers["term"])}
    round = int(numbers.get("round", "0"))
    index, term = _place(numbers.get("last") or numbers.get("after") or numbers.get("at") or "0/0")
    match tokens[0], tokens[1]:
        case "prevote?", _:
            return PreVoteRequest(last_index=index, last_term=term, **envelope)
        case "prevote", answer:
            return PreVoteResponse(granted=answer == "yes", **envelope)
        case "vote?", _:
            return VoteRequest(last_index=index, last_term=term, transfer="transfer" in tokens, **envelope)
        case "vote", answer:
            return VoteResponse(granted=answer == "yes", **envelope)
        case "append", _:
            entries = tuple(entry_of(part) for part in inside.rstrip("]").split(",") if part.strip())
            commit = int(numbers.get("commit", "0"))
            return AppendRequest(
                prev_index=index, prev_term=term, commit=commit, round=round, entries=entries, **envelope
            )
        case "appended", _:
            match_index = int(numbers["to"])
            return AppendResponse(success=True, prev_index=match_index, match=match_index, round=round, **envelope)
        case "refused", _:
            hint_index, hint_term = _place(numbers["try"])
            return AppendResponse(
                success=False,
                prev_index=index,
                match=0,
                round=round,
                hint_index=hint_index,
                hint_term=hint_term,
                **envelope,
            )
        case "snapshot", _:
            return InstallSnapshot(meta=SnapshotMeta(index, term, members, 1), round=round, **envelope)
        case "stand-now", _:
            return TimeoutNow(**envelope)
    raise ValueError(f"no message: {words}")


def entry_of(words: str) -> Entry:
    """The entry that `2/2 x` is."""
    place, _space, what = words.strip().partition(" ")
    index, term = _place(place)
    return Entry(index, term, EntryKind.NOOP) if what == "noop" else Entry(index, term, data=what.encode())


def _place(words: str) -> tuple[int, int]:
    index, _slash, term = words.partition("/")
    return int(index), int(term or 0)
