"""Transactions through three whole servers: whoever takes them, once, with the same answer after a change of leaders."""

from __future__ import annotations

import asyncio
from pathlib import Path

from chowk.core.commands import Transaction
from chowk.core.records.operation import KeyOperation
from chowk.core.requests import CONSISTENT, STALE, QueryOptions, Write
from chowk.core.txn_requests import TXN_APPLY, TXN_READ, TransactionQuery
from support.server_cluster import Host, server_cluster, until


def increment(value: bytes, index: int) -> tuple[KeyOperation, ...]:
    """Both keys or none, and only from what was read."""
    return tuple(
        KeyOperation(verb=verb, key=key, value=value, index=index)
        for verb, key in (("cas", b"one"), ("set", b"two"), ("get", b"one"))
    )


async def read(host: Host, consistency: str) -> list[bytes]:
    operations = tuple(KeyOperation(verb="get-or-empty", key=key) for key in (b"one", b"two"))
    reply = await host.call(
        TXN_READ, TransactionQuery(operations=operations, options=QueryOptions(consistency=consistency))
    )
    return [result.key.value for result in reply.outcome.results]


def test_every_server_takes_a_transaction_and_reads_it_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with server_cluster(tmp_path) as cluster:
            await cluster.leader()
            index = 0
            for number, host in enumerate(cluster.up):
                value = b"%d" % number
                write = Write(command=Transaction(operations=increment(value, index)), client="c", sequence=number)
                reply = await host.call(TXN_APPLY, write)
                assert not reply.outcome.errors
                index = reply.index
                for reader in cluster.up:
                    assert await read(reader, "default") == await read(reader, CONSISTENT) == [value, value]
            late = Write(command=Transaction(operations=increment(b"late", 1)), client="c", sequence=99)
            reply = await cluster.followers()[0].call(TXN_APPLY, late)
            assert [error.position for error in reply.outcome.errors] == [0]
            for reader in cluster.up:
                assert await read(reader, STALE) == [b"2", b"2"]

    asyncio.run(scene())


def test_one_whose_answer_was_lost_with_the_leader_gets_it_from_the_next(tmp_path: Path) -> None:
    async def scene() -> None:
        async with server_cluster(tmp_path) as cluster:
            leader = await cluster.leader()
            write = Write(command=Transaction(operations=increment(b"1", 0)), client="c", sequence=1)
            first = await leader.call(TXN_APPLY, write)
            other = cluster.followers()[0]
            await until(lambda: other.machine.store.kv.entries.get(b"two"))
            await leader.stop()
            assert await other.call(TXN_APPLY, write) == first
            assert await read(other, CONSISTENT) == [b"1", b"1"]
            assert other.machine.store.kv.entries[b"one"].modify_index == first.index

    asyncio.run(scene())
