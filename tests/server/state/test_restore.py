"""A snapshot restored through the log: all of it at once or nothing, the same on every server, no index goes back."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.core import codec
from chowk.core.commands import (
    Applied,
    Envelope,
    FinishRestore,
    Register,
    SetAutopilot,
    SetSystemMetadata,
    StageRestore,
    UpsertConfigEntry,
)
from chowk.core.events import HEALTH, KEY, Topic
from chowk.core.records.config_entry import ServiceDefaults
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.core.server_options import Autopilot
from chowk.server.state import queries
from chowk.server.state.machine import StoreMachine
from support.store_commands import logs


class Log:
    """One server's machine, and what was applied to it."""

    def __init__(self, start: int = 0) -> None:
        self.machine = StoreMachine()
        self.machine.store.index = start
        self.restored = 0
        self.entries: list[bytes] = []
        self.machine.follow(lambda _commit: None, self._count)

    def _count(self) -> None:
        self.restored += 1

    def write(self, command: Any, client: str = "", sequence: int = 0) -> Applied:
        entry = codec.pack(Envelope(client=client, sequence=sequence, time_s=0.0, command=command))
        self.entries.append(entry)
        return self.machine.apply(self.machine.store.index + 1, entry)

    def bytes(self) -> bytes:
        return b"".join(self.machine.snapshot()())

    def stage(self, data: bytes, piece: int = 1000, id: str = "r") -> int:
        pieces = [data[at : at + piece] for at in range(0, len(data), piece)]
        for number, each in enumerate(pieces):
            assert self.write(StageRestore(id=id, number=number, data=each)).ok
        return len(pieces)

    def restore(self, data: bytes, piece: int = 1000) -> Applied:
        chunks = self.stage(data, piece)
        return self.write(FinishRestore(id="r", chunks=chunks, sha256=hashlib.sha256(data).hexdigest()))


def register(name: str, service: str = "web") -> Register:
    return Register(node=Node(node=name, address="127.0.0.1"), service=NodeService(id=service, service=service))


def other(start: int = 0) -> bytes:
    """The state of another cluster whose log is further on, or not as far."""
    log = Log(start)
    log.write(SetSystemMetadata(key="cluster_id", value="theirs"))
    log.write(register("theirs"))
    log.write(UpsertConfigEntry(entry=ServiceDefaults(name="web", protocol="http")))
    log.write(SetAutopilot(settings=Autopilot(max_trailing_logs=7)))
    return log.bytes()


def mine() -> Log:
    log = Log(100)
    log.write(SetSystemMetadata(key="cluster_id", value="mine"))
    log.write(register("mine"))
    return log


@pytest.mark.parametrize("start", [0, 100_000])
def test_everything_is_replaced_at_once_and_no_index_goes_back(start: int) -> None:
    log = mine()
    data = other(start)
    chunks = log.stage(data)
    assert list(log.machine.store.nodes) == ["mine"]
    assert log.restored == 0
    result = log.write(FinishRestore(id="r", chunks=chunks, sha256=hashlib.sha256(data).hexdigest()))
    store = log.machine.store
    assert (result.ok, log.restored, list(store.nodes)) == (True, 1, ["theirs"])
    assert store.index == result.index
    for topic in (queries.health_topic("web"), queries.node_topic("mine"), Topic(kind=KEY, key="x")):
        assert store.last_changed(topic) == result.index
    records = (store.nodes["theirs"], *store.services.values(), *store.entries.values(), store.autopilot)
    for record in records:
        assert record is not None
        assert 0 < record.create_index <= record.modify_index < result.index
    assert store.autopilot is not None
    assert store.autopilot.settings.max_trailing_logs == 7
    later = log.write(register("later"))
    assert later.index == store.last_changed(Topic(kind=HEALTH, key="web")) > result.index


def test_the_cluster_keeps_its_own_name_and_authority() -> None:
    log = mine()
    log.restore(other())
    assert log.machine.store.cluster_id == "mine"


def test_a_write_from_before_the_restore_is_not_applied_again_by_a_retry() -> None:
    log = mine()
    first = log.write(register("once"), "c", 1)
    log.restore(other())
    assert log.write(register("once"), "c", 1) == first
    assert list(log.machine.store.nodes) == ["theirs"]


def test_a_compare_and_set_from_before_the_restore_is_lost() -> None:
    log = mine()
    log.write(UpsertConfigEntry(entry=ServiceDefaults(name="web")))
    index = log.machine.store.entries[("service-defaults", "web")].modify_index
    log.restore(other(index - 3))  # their entry was written at that very index
    assert not log.write(UpsertConfigEntry(entry=ServiceDefaults(name="web"), cas=index)).ok


@pytest.mark.parametrize("cut", [0, 1, 30, -1, -40])
def test_one_cut_short_changes_nothing(cut: int) -> None:
    log = mine()
    before = log.machine.store.nodes
    data = other()[:cut]
    result = log.restore(data)
    assert not result.ok
    assert log.machine.store.nodes is before
    assert (log.restored, log.machine.store.staging) == (0, None)


@given(st.binary(max_size=300), st.integers(0, 2000))
def test_one_with_wrong_bytes_anywhere_changes_nothing_or_is_what_its_checksum_says(junk: bytes, at: int) -> None:
    log = mine()
    data = other()
    data = data[:at] + junk + data[at + len(junk) :]
    for number, piece in enumerate(data[at : at + 500] for at in range(0, len(data), 500)):
        log.write(StageRestore(id="r", number=number, data=piece))
    result = log.write(FinishRestore(id="r", chunks=-(-len(data) // 500), sha256=hashlib.sha256(data).hexdigest()))
    assert result.ok or list(log.machine.store.nodes) == ["mine"]
    wrong = log.write(FinishRestore(id="r", chunks=1, sha256="0" * 64))
    assert not wrong.ok


def test_a_state_that_is_whole_but_not_the_one_that_was_sent_changes_nothing() -> None:
    log, data = mine(), other()
    for chunks, digest in ((1, "0" * 64), (2, hashlib.sha256(data).hexdigest())):
        log.stage(data, len(data))
        assert not log.write(FinishRestore(id="r", chunks=chunks, sha256=digest)).ok
    assert list(log.machine.store.nodes) == ["mine"]


def test_a_second_restore_takes_the_place_of_an_unfinished_one() -> None:
    log = mine()
    log.stage(other(), id="first")
    assert not log.write(StageRestore(id="second", number=3, data=b"x")).ok
    assert log.restore(other()).ok
    assert not log.write(StageRestore(id="first", number=9, data=b"x")).ok
    assert not log.write(FinishRestore(id="first", chunks=9)).ok


def test_a_piece_sent_twice_counts_once_and_a_missing_one_ends_it() -> None:
    log, data = mine(), other()
    for number in (0, 0, 1, 0 + 1):
        assert log.write(StageRestore(id="r", number=number, data=data[number * 100 : number * 100 + 100])).ok
    gap = log.write(StageRestore(id="r", number=5, data=b""))
    assert not gap.ok
    assert "missing" in str(gap.value)
    assert log.machine.store.staging is None


def test_abandoning_frees_what_was_kept_and_can_be_said_twice() -> None:
    log = mine()
    log.stage(other())
    for _again in range(2):
        assert log.write(FinishRestore(id="r", abandon=True)).ok
    assert log.machine.store.staging is None
    assert log.restored == 0


@settings(deadline=None, max_examples=25)
@given(logs, logs, st.integers(1, 400), st.integers(0, 30))
def test_a_server_that_got_a_snapshot_in_the_middle_ends_with_the_same_state(
    ours: list[Envelope], theirs: list[Envelope], piece: int, when: int
) -> None:
    source, log = Log(), Log()
    for envelope in theirs:
        source.write(envelope.command)
    for envelope in ours:
        log.write(envelope.command, envelope.client, envelope.sequence)
    data = source.bytes()
    base = len(log.entries)
    assert log.restore(data, max(piece, len(data) // 20)).ok
    late, replayed = Log(), StoreMachine()
    cut = min(base + when, len(log.entries) - 1)
    for index, entry in enumerate(log.entries[:cut], 1):
        late.machine.apply(index, entry)
    late.machine.restore([late.bytes()])
    for index, entry in enumerate(log.entries[cut:], cut + 1):
        late.machine.apply(index, entry)
    for index, entry in enumerate(log.entries, 1):
        replayed.apply(index, entry)
    assert late.bytes() == log.bytes() == b"".join(replayed.snapshot()())
