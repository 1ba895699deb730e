"""Txn and PreparedQuery as the servers take them: only what each method is for, done once, told again to who asks again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from chowk.core.commands import DeletePreparedQuery, PutKey, Register, SetPreparedQuery, Transaction
from chowk.core.errors import InternalError, InvalidRequest, OutcomeUnknown, TooLarge
from chowk.core.query_requests import QUERY_READ, QUERY_WRITE
from chowk.core.records.check import PASSING, SERF_HEALTH_ID, HealthCheck
from chowk.core.records.kv import VALUE_BYTES_MAX
from chowk.core.records.node import Node
from chowk.core.records.operation import CheckOperation, KeyOperation, NodeOperation, ServiceOperation
from chowk.core.records.prepared_query import PreparedQuery, QueryService
from chowk.core.records.service import NodeService
from chowk.core.requests import CATALOG_WRITE, QueryOptions, Read, Write
from chowk.core.txn_requests import TXN_APPLY, TXN_READ, OutcomeReply, TransactionQuery
from chowk.server.state import outcomes
from support.server_rig import Rig, running_server

ID = "11111111-1111-1111-1111-111111111111"


def with_server(path: Path, body: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running_server(path) as rig:
            await asyncio.wait_for(body(rig), 20)

    asyncio.run(run())


def key(verb: str, name: bytes = b"k", **fields: object) -> KeyOperation:
    return KeyOperation(verb=verb, key=name, **fields)  # type: ignore[arg-type]


async def send(rig: Rig, sequence: int, *operations: object) -> OutcomeReply:
    write = Write(command=Transaction(operations=operations), client="me", sequence=sequence)  # type: ignore[arg-type]
    reply: OutcomeReply = await rig.call(TXN_APPLY, write)
    return reply


def test_the_same_write_sent_again_is_done_once_and_told_again(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        first = await send(rig, 1, key("cas", value=b"1"), key("get"))
        lost = await send(rig, 2, key("cas", value=b"2"))
        await send(rig, 3, key("set", value=b"3"))
        assert await send(rig, 1, key("cas", value=b"1"), key("get")) == first
        assert await send(rig, 2, key("cas", value=b"2")) == lost
        assert [error.what for error in lost.outcome.errors] == ['failed to set key "k", index is stale']
        assert rig.machine.store.kv.entries[b"k"].value == b"3"

    with_server(tmp_path, body)


def test_what_was_done_and_could_not_be_any_more_is_told_as_it_was(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        taken = NodeOperation(verb="set", node=Node(node="n", id=ID, address="127.0.0.1"))
        first = await send(rig, 1, taken)
        other = Node(node="n", id=ID.replace("1", "2"), address="127.0.0.2")
        alive = HealthCheck(node="n", check_id=SERF_HEALTH_ID, status=PASSING)
        await rig.write(CATALOG_WRITE, Register(node=other, checks=(alive,)))
        assert await send(rig, 1, taken) == first
        [error] = (await send(rig, 2, taken)).outcome.errors
        assert "is reserved by node" in error.what

        query = PreparedQuery(id=ID, name="q", service=QueryService(service="web"))
        made = Write(command=SetPreparedQuery(query=query), client="me", sequence=3)
        first_query = await rig.call(QUERY_WRITE, made)
        await rig.write(QUERY_WRITE, DeletePreparedQuery(id=ID))
        await rig.write(QUERY_WRITE, SetPreparedQuery(query=msgspec.structs.replace(query, id=ID.replace("1", "3"))))
        assert await rig.call(QUERY_WRITE, made) == first_query

    with_server(tmp_path, body)


def test_an_answer_that_is_not_kept_is_not_made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "OUTCOME_BYTES_MAX", 100)

    async def body(rig: Rig) -> None:
        first = await send(rig, 1, key("set", value=bytes(200)), key("get"))
        with pytest.raises(OutcomeUnknown, match=f"it was done at index {first.index}, once"):
            await send(rig, 1, key("set", value=bytes(200)), key("get"))

    with_server(tmp_path, body)


def test_a_write_is_not_read_and_no_other_command_comes_in_as_a_transaction(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        with pytest.raises(InvalidRequest, match="a transaction that writes is not read"):
            await rig.call(TXN_READ, TransactionQuery(operations=(key("get"), key("set"))))
        with pytest.raises(InvalidRequest, match=r"Txn.Apply does not take a command of type PutKey"):
            await rig.call(TXN_APPLY, Write(command=PutKey(key=b"k"), client="me", sequence=1))
        with pytest.raises(InvalidRequest, match=r"PreparedQuery.Write does not take a command of type Transaction"):
            await rig.write(QUERY_WRITE, Transaction(operations=()))
        with pytest.raises(TooLarge, match=r"too many operations \(65 > 64\)"):
            await send(rig, 1, *(key("set") for _ in range(65)))
        assert not rig.machine.store.kv.entries

    with_server(tmp_path, body)


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        (key("set", b""), "Must provide key"),
        (key("set", value=bytes(VALUE_BYTES_MAX + 1)), "Value for key is too large"),
        (key("set", flags=-1), "Invalid flags"),
        (key("cas", index=-1), "Invalid index"),
        (key("set", b"k" * 5000), "Key is too long"),
        (NodeOperation(verb="set", node=Node(node="n", address="0.0.0.0")), "no address that others can dial"),
        (ServiceOperation(verb="set", node="n", service=NodeService(id="", service="")), "Must provide service name"),
        (CheckOperation(verb="set", check=HealthCheck(node="n", check_id="c", status="up")), "Invalid check status"),
    ],
)
def test_what_is_wrong_with_an_operation_is_told_by_its_place_and_nothing_is_proposed(
    tmp_path: Path, operation: object, what: str
) -> None:
    async def body(rig: Rig) -> None:
        before = rig.machine.store.index
        reply = await send(rig, 1, key("set", b"first"), operation)
        [error] = reply.outcome.errors
        assert (error.position, what in error.what) == (1, True)
        assert rig.machine.store.index == before

    with_server(tmp_path, body)


def test_a_read_waits_for_what_it_reads(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        await send(rig, 1, key("set", b"a/1"))
        first = await rig.call(TXN_READ, TransactionQuery(operations=(key("get-tree", b"a/"), key("get", b"a/1"))))
        options = QueryOptions(min_index=first.meta.index, max_wait_s=10)
        asked = TransactionQuery(operations=(key("get-tree", b"a/"),), options=options)
        waiting = asyncio.create_task(rig.call(TXN_READ, asked, timeout_s=15))
        await send(rig, 2, key("set", b"b"))
        await send(rig, 3, key("set", b"a/2"))
        reply = await waiting
        assert [row.key.key for row in reply.outcome.results if row.key] == [b"a/1", b"a/2"]
        assert reply.meta.index == rig.machine.store.index

    with_server(tmp_path, body)


def test_a_query_is_written_under_an_id_of_the_usual_form_and_removed_once(tmp_path: Path) -> None:
    async def body(rig: Rig) -> None:
        query = PreparedQuery(id=ID, name="q", service=QueryService(service="web"), create_index=99, modify_index=99)
        for id in ("x", ID.replace("-", ""), ""):
            with pytest.raises(InvalidRequest, match="a UUID in its usual form"):
                await rig.write(QUERY_WRITE, SetPreparedQuery(query=PreparedQuery(id=id, name="q")))
        await rig.write(QUERY_WRITE, SetPreparedQuery(query=query))
        [kept] = (await rig.call(QUERY_READ, Read(name=ID))).queries
        assert kept.create_index == kept.modify_index == rig.machine.store.index
        delete = Write(command=DeletePreparedQuery(id=ID), client="me", sequence=1)
        first = await rig.call(QUERY_WRITE, delete)
        assert await rig.call(QUERY_WRITE, delete) == first, "sent again, it is not told that there is none"
        with pytest.raises(InternalError, match="Cannot modify non-existent prepared query"):
            await rig.write(QUERY_WRITE, DeletePreparedQuery(id=ID))

    with_server(tmp_path, body)
