"""RaftConsensus with real files and threads: what was acknowledged survives, what cannot be written is not acknowledged."""

from __future__ import annotations

import asyncio
import errno
import random
import subprocess
import sys
from pathlib import Path

import pytest

import support.proposing_server
from chowk.core.errors import NoLeader, OutcomeUnknown, TooManyRequests
from chowk.core.runtime.clock import SystemClock
from chowk.server.consensus import RaftConsensus
from chowk.server.raft.records import Member
from chowk.server.raft.settings import Settings
from chowk.server.storage.durable import DurableStorage
from chowk.server.storage.errors import StorageError
from chowk.server.storage.filesystem import Disk, DiskFile
from chowk.server.storage.memory import MemoryStorage
from support.proposing_server import Journal, make_journal

MEMBER = Member("n1", "127.0.0.1:8300", "n1")


class FailingFile(DiskFile):
    fail_with = 0

    def sync(self) -> None:
        if FailingFile.fail_with:
            raise OSError(FailingFile.fail_with, "told to fail")
        super().sync()


class FailingDisk(Disk):
    def create(self, path: Path) -> FailingFile:
        return FailingFile(path, 0o100 | 0o1000)

    def append(self, path: Path) -> FailingFile:
        return FailingFile(path, 0)


def make(storage, settings: Settings | None = None, failures: list | None = None):
    machine = Journal()
    consensus = RaftConsensus(
        machine,
        storage,
        MEMBER,
        1,
        SystemClock(),
        random.Random(1),
        settings=settings,
        on_failure=(failures if failures is not None else []).append,
    )
    return machine, consensus


def test_a_server_alone_leads_when_start_returns_and_has_applied_everything(tmp_path: Path) -> None:
    async def first() -> None:
        _machine, consensus = make_journal(tmp_path)
        led: list[bool] = []
        consensus.on_leadership(led.append)
        await consensus.start()
        assert (consensus.is_leader, consensus.leader, led) == (True, "127.0.0.1:8300", [True])
        assert await consensus.propose(b"one", timeout_s=5) == 3
        await consensus.read_barrier(timeout_s=5)
        assert consensus.stats()["state"] == "Leader"
        assert [server.leader for server in consensus.configuration()[1]] == [True]
        await consensus.stop()
        assert led == [True, False]
        with pytest.raises(NoLeader):
            await consensus.propose(b"two", timeout_s=5)

    async def second() -> None:
        machine, consensus = make_journal(tmp_path)
        await consensus.start()
        assert machine.entries == {3: b"one"}
        await consensus.stop()

    asyncio.run(first())
    asyncio.run(second())


def test_after_kill_9_every_acknowledged_write_is_there(tmp_path: Path) -> None:
    acknowledged: dict[int, bytes] = {}
    for _life in range(3):
        child = subprocess.Popen(
            [sys.executable, support.proposing_server.__file__, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(400):
            index, entry = child.stdout.readline().split()
            acknowledged[int(index)] = entry
        child.kill()
        for line in child.stdout:
            if line.endswith(b"\n"):
                index, entry = line.split()
                acknowledged[int(index)] = entry
        child.stdout.close()
        child.wait()

    async def recover() -> dict[int, bytes]:
        machine, consensus = make_journal(tmp_path)
        await consensus.start()
        await consensus.stop()
        return machine.entries

    entries = asyncio.run(recover())
    assert len(acknowledged) >= 1200
    assert {index: entries.get(index) for index in acknowledged} == acknowledged


def test_snapshots_are_taken_the_log_is_compacted_and_both_together_recover(tmp_path: Path) -> None:
    async def run() -> None:
        machine, consensus = make_journal(tmp_path)
        await consensus.start()
        for round in range(10):
            await asyncio.gather(*(consensus.propose(b"%d-%d" % (round, n), timeout_s=5) for n in range(60)))
        await consensus.stop()
        again, recovered = make_journal(tmp_path)
        await recovered.start()
        assert again.entries == machine.entries
        assert len(again.entries) == 600
        assert int(recovered.stats()["last_snapshot_index"]) > 100
        await recovered.stop()

    asyncio.run(run())


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_bug_16_a_write_whose_fsync_fails_is_never_acknowledged_and_nothing_is_retried(
    tmp_path: Path, error: int
) -> None:
    async def run() -> None:
        failures: list[Exception] = []
        machine, consensus = make(DurableStorage(tmp_path, FailingDisk()), failures=failures)
        await consensus.start()
        await consensus.propose(b"kept", timeout_s=5)
        FailingFile.fail_with = error
        with pytest.raises(OutcomeUnknown):
            await consensus.propose(b"perhaps", timeout_s=5)
        FailingFile.fail_with = 0
        with pytest.raises(NoLeader):
            await consensus.propose(b"never", timeout_s=5)
        with pytest.raises(NoLeader):
            await consensus.read_barrier(timeout_s=5)
        assert not consensus.is_leader
        assert ("full" if error == errno.ENOSPC else "fails") in str(failures[0])
        assert list(machine.entries.values()) == [b"kept"]
        await consensus.stop()
        again, recovered = make(DurableStorage(tmp_path))
        await recovered.start()
        assert list(again.entries.values()) in ([b"kept"], [b"kept", b"perhaps"])
        await recovered.stop()

    FailingFile.fail_with = 0
    asyncio.run(run())


def test_too_many_uncommitted_bytes_are_refused_and_the_rest_is_written() -> None:
    async def run() -> None:
        machine, consensus = make(MemoryStorage(), Settings(uncommitted_bytes_max=10_000))
        await consensus.start()
        outcomes = await asyncio.gather(
            *(consensus.propose(b"x" * 1000, timeout_s=5) for _ in range(50)), return_exceptions=True
        )
        refused = [outcome for outcome in outcomes if isinstance(outcome, TooManyRequests)]
        assert len(refused) + len(machine.entries) == 50
        assert len(machine.entries) == 9
        await consensus.propose(b"x" * 1000, timeout_s=5)
        await consensus.stop()

    asyncio.run(run())


def test_stop_writes_what_is_pending(tmp_path: Path) -> None:
    async def run() -> None:
        _machine, consensus = make_journal(tmp_path)
        await consensus.start()
        proposals = [asyncio.ensure_future(consensus.propose(b"%d" % n, timeout_s=5)) for n in range(50)]
        await asyncio.sleep(0)
        await consensus.stop()
        assert sorted(await asyncio.gather(*proposals)) == list(range(3, 53))

    asyncio.run(run())


def test_a_state_machine_that_raises_stops_the_server_instead_of_skipping_an_entry() -> None:
    async def run() -> None:
        machine, consensus = make(MemoryStorage())
        await consensus.start()
        machine.apply = None  # type: ignore[method-assign]
        with pytest.raises(OutcomeUnknown):
            await consensus.propose(b"x", timeout_s=5)
        assert not consensus.is_leader
        await consensus.stop()

    asyncio.run(run())


def test_a_second_server_on_the_same_folder_is_told_who_has_it(tmp_path: Path) -> None:
    async def run() -> None:
        _machine, consensus = make_journal(tmp_path)
        await consensus.start()
        _other, second = make_journal(tmp_path)
        with pytest.raises(StorageError, match=r"in use by the process \d+: stop it first"):
            await second.start()
        assert await consensus.propose(b"x", timeout_s=5) == 3
        await consensus.stop()

    asyncio.run(run())


def test_a_disk_that_fails_while_stop_writes_what_is_pending_does_not_keep_the_folder_locked(tmp_path: Path) -> None:
    async def run() -> None:
        _machine, consensus = make(DurableStorage(tmp_path, FailingDisk()))
        await consensus.start()
        proposal = asyncio.ensure_future(consensus.propose(b"perhaps", timeout_s=5))
        await asyncio.sleep(0)
        FailingFile.fail_with = errno.EIO
        await consensus.stop()
        with pytest.raises(OutcomeUnknown):
            await proposal
        FailingFile.fail_with = 0
        _again, next_life = make(DurableStorage(tmp_path))
        await next_life.start()
        await next_life.stop()

    FailingFile.fail_with = 0
    asyncio.run(run())


def test_a_start_that_cannot_write_says_why(tmp_path: Path) -> None:
    async def run() -> None:
        _machine, first = make(DurableStorage(tmp_path))
        await first.start()
        await first.stop()
        _machine, consensus = make(DurableStorage(tmp_path, DiskThatFillsUp()))
        with pytest.raises(StorageError, match="the disk is full"):
            await consensus.start()
        await consensus.stop()

    asyncio.run(run())


class DiskThatFillsUp(Disk):
    """Full when the new term is to be written, so that the log is read but nobody can lead."""

    def create(self, path: Path) -> FailingFile:
        raise OSError(errno.ENOSPC, f"no room for {path.name}")
