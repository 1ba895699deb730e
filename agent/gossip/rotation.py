"""Changing the gossip keys of the whole cluster: list, install, use, remove. Called by `driver`.

The agent that is asked tells every member by a stream of its own, which nobody can record and send again later; so no key
ever lies in a packet that is spread. Before `use` and `remove` all members are asked for their keys, and nothing is done
when one would be cut off by it or does not answer. Rotation: install the new key, use it, remove the old one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from chowk.agent.gossip.keyring import Keyring, encode_key
from chowk.core import codec
from chowk.core.errors import ChowkError, InvalidRequest
from chowk.core.records.member import Member

LIST: Final = "list"
INSTALL: Final = "install"
USE: Final = "use"
REMOVE: Final = "remove"

TIMEOUT_S: Final = 5.0
"""For one member's answer."""

ASKED_MAX: Final = 16
"""Members asked at the same time."""

TEXT_MAX: Final = 512


class KeyQuestion(msgspec.Struct, frozen=True, array_like=True):
    """What one member is asked to do; `key` is empty for `list`."""

    operation: str
    key: bytes = b""


class KeyAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The member's keys afterwards, the primary first; `error` says why it did not do it."""

    keys: tuple[bytes, ...] = ()
    error: str = ""


class KeyringReply(msgspec.Struct, frozen=True, kw_only=True):
    """`keys` and `primary` map a key (base64) to how many members have it (as their primary one); `errors` a member's name
    to why it failed; `members` is how many were asked."""

    members: int
    keys: dict[str, int]
    primary: dict[str, int]
    errors: dict[str, str]


class RotationFailed(ChowkError):
    """A change of keys that not every member made; the text says which, why, and what holds now."""


Ask = Callable[[Member, bytes], Awaitable[bytes]]


def serve(keyring: Keyring, question: bytes) -> bytes:
    """The answer to another agent's question. Blocks for an fsync; ValueError when it is no question."""
    asked = codec.unpack(question, KeyQuestion)
    try:
        apply(keyring, asked.operation, asked.key)
    except (ChowkError, OSError) as error:
        return codec.pack(KeyAnswer(keyring.keys, str(error)[:TEXT_MAX]))
    return codec.pack(KeyAnswer(keyring.keys))


def apply(keyring: Keyring, operation: str, key: bytes) -> None:
    """Do one operation here. InvalidRequest, or OSError when the disk refuses."""
    if not keyring.keys:
        raise InvalidRequest("gossip is not encrypted on this agent: it has no keyring; set `encrypt` and restart")
    change = {INSTALL: keyring.install, USE: keyring.use, REMOVE: keyring.remove}.get(operation)
    if change is not None:
        change(key)
    elif operation != LIST:
        raise InvalidRequest(f'"{operation[:20]}" is no keyring operation')


async def change_keys(operation: str, key: bytes, members: Sequence[Member], ask: Ask) -> KeyringReply:
    """Do `operation` at all `members`, which must include this agent; `ask` sends one a question and gives its answer.

    RotationFailed when it was refused beforehand (nothing changed) or did not succeed everywhere (it says where).
    """
    if operation in (USE, REMOVE):
        found = await _ask_all(KeyQuestion(LIST), members, ask)
        if operation == USE:
            lacking = {name: "it does not hold the key" for name, each in found.items() if key not in each.keys}
        else:
            lacking = {name: "it still uses the key" for name, each in found.items() if each.keys[:1] == (key,)}
        _raise_if_any(lacking | _errors(found), f"nothing was changed, since it would cut members off: {operation}")
    answers = await _ask_all(KeyQuestion(operation, key), members, ask)
    errors = _errors(answers)
    if operation != LIST:
        _raise_if_any(errors, f"{len(answers) - len(errors)} of {len(answers)} members did it; try again: {operation}")
    return _counted(answers, errors)


async def _ask_all(question: KeyQuestion, members: Sequence[Member], ask: Ask) -> dict[str, KeyAnswer]:
    data = codec.pack(question)
    slots = asyncio.Semaphore(ASKED_MAX)

    async def ask_one(member: Member) -> KeyAnswer:
        async with slots:
            try:
                return codec.unpack(await ask(member, data), KeyAnswer)
            except (OSError, ValueError, EOFError, ChowkError) as error:
                return KeyAnswer((), f"no answer: {str(error) or type(error).__name__}"[:TEXT_MAX])

    async with asyncio.TaskGroup() as group:
        tasks = {member.name: group.create_task(ask_one(member)) for member in members}
    return {name: task.result() for name, task in sorted(tasks.items())}


def _errors(answers: dict[str, KeyAnswer]) -> dict[str, str]:
    return {name: answer.error for name, answer in answers.items() if answer.error}


def _raise_if_any(errors: dict[str, str], what: str) -> None:
    if errors:
        shown = "; ".join(f"{name}: {text}" for name, text in sorted(errors.items())[:8])
        more = f"; and {len(errors) - 8} more" if len(errors) > 8 else ""
        raise RotationFailed(f"{what}: {shown}{more}")


def _counted(answers: dict[str, KeyAnswer], errors: dict[str, str]) -> KeyringReply:
    keys: dict[str, int] = {}
    primary: dict[str, int] = {}
    for answer in answers.values():
        for key in answer.keys:
            keys[encode_key(key)] = keys.get(encode_key(key), 0) + 1
        for key in answer.keys[:1]:
            primary[encode_key(key)] = primary.get(encode_key(key), 0) + 1
    return KeyringReply(members=len(answers), keys=keys, primary=primary, errors=errors)
