"""How a write is done: a checked command becomes a log entry, and its apply's result the reply. Called by endpoints."""

from __future__ import annotations

from typing import Final

from chowk.core import codec
from chowk.core.commands import COMMANDS_VERSION, AnyCommand, Applied, Command, Envelope, FinishRestore, StageRestore
from chowk.core.errors import InternalError, InvalidRequest, NotYet, OutcomeUnknown, TooLarge
from chowk.core.records.kv import VALUE_BYTES_MAX
from chowk.core.requests import Write, WriteReply
from chowk.core.runtime.clock import Clock
from chowk.server.port import Consensus
from chowk.server.state.machine import FORGOTTEN

ENTRY_BYTES_MAX: Final = VALUE_BYTES_MAX + 64 * 1024
"""The largest value of KV, and what stands around it."""
CLIENT_CHARS_MAX: Final = 128
SEQUENCE_MAX: Final = 2**62
WRITE_TIMEOUT_S: Final = 10.0
NESTING_MAX: Final = 128
DEEP: Final = f"a write may nest {NESTING_MAX} levels"
NESTING_BYTES_SAFE: Final = 512
"""A shorter entry cannot nest so deep that any server could not read it: a level takes a byte."""


class Writes:
    """Proposes commands."""

    def __init__(self, consensus: Consensus, clock: Clock) -> None:
        self._consensus = consensus
        self._clock = clock

    def admit(self, write: Write, kinds: tuple[type[Command], ...], method: str) -> None:
        """Refuse a command that is not one `method` is for: no caller reaches another noun, or the CA, through it."""
        if not isinstance(write.command, kinds):
            raise InvalidRequest(f"{method} does not take a command of type {type(write.command).__name__}")
        if not write.client or len(write.client) > CLIENT_CHARS_MAX:
            raise InvalidRequest(f"a write needs a client id of 1 to {CLIENT_CHARS_MAX} characters")
        if not 0 <= write.sequence <= SEQUENCE_MAX:
            raise InvalidRequest("a write needs a sequence number that is not negative")

    async def propose(self, command: AnyCommand, client: str = "", sequence: int = 0) -> WriteReply:
        """As `apply`, of a command whose result is no more than whether it was done."""
        result = await self.apply(command, client, sequence)
        if result.value is not None:
            raise InternalError(str(result.value))
        return WriteReply(index=result.index, ok=result.ok)

    async def apply(self, command: AnyCommand, client: str = "", sequence: int = 0) -> Applied:
        """Replicate and apply. TooLarge, NoLeader, TooManyRequests, NotYet: not written; OutcomeUnknown: perhaps."""
        version = command.version
        self._check_releases(command, version)
        envelope = Envelope(
            client=client, sequence=sequence, time_s=self._clock.wall(), command=command, version=version
        )
        try:
            entry = codec.pack(envelope)
        except RecursionError:
            raise InvalidRequest(DEEP) from None
        if len(entry) > ENTRY_BYTES_MAX:
            raise TooLarge(f"a write of {len(entry)} bytes is over the limit of {ENTRY_BYTES_MAX}")
        if len(entry) > NESTING_BYTES_SAFE and codec.is_deeper(entry, NESTING_MAX):
            raise InvalidRequest(DEEP)
        result = await self._consensus.propose(entry, timeout_s=WRITE_TIMEOUT_S)
        if not isinstance(result, Applied):
            raise InternalError(f"an entry was applied with a result of type {type(result).__name__}")
        if result.value == FORGOTTEN:
            raise OutcomeUnknown(FORGOTTEN)
        return result

    def _check_releases(self, command: AnyCommand, version: int) -> None:
        """NotYet while a member runs a release that cannot apply `command`: it would have to stop. What a snapshot holds may
        be of any release, so one is only restored where all run the same."""
        is_restore = isinstance(command, StageRestore) or (isinstance(command, FinishRestore) and not command.abandon)
        if version == 1 and not is_restore:
            return
        for peer in self._consensus.releases():
            if peer.commands < version or (is_restore and peer.commands != COMMANDS_VERSION):
                what = str(type(command).__struct_config__.tag)
                raise NotYet(
                    f"{peer.node} runs chowk {peer.release or 'of an older release'}, which does not know all of {what}: "
                    "nothing was written; finish the upgrade of all servers first (or, if that server is gone for good, "
                    "remove it: chowk operator raft remove-peer)"
                )
