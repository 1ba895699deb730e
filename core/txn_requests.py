"""The RPCs of transactions: names, requests, replies, permissions. See `core.requests`.

The permission named is that of keys; with ACLs each operation will need that of what it touches (`key`, `node`, `service`).
"""

from __future__ import annotations

from chowk.core.records.operation import Operation, Outcome
from chowk.core.requests import Message, Method, QueryMeta, QueryOptions, Write


class OutcomeReply(Message, frozen=True, kw_only=True):
    """What a transaction that was replicated ended in."""

    index: int
    outcome: Outcome


class TransactionQuery(Message, frozen=True, kw_only=True):
    """A transaction of which every operation only reads."""

    operations: tuple[Operation, ...]
    options: QueryOptions = QueryOptions()


class TransactionReply(Message, frozen=True, kw_only=True):
    """All of it as of one moment."""

    meta: QueryMeta
    outcome: Outcome


TXN_APPLY = Method("Txn.Apply", Write, OutcomeReply, "key:write")
TXN_READ = Method("Txn.Read", TransactionQuery, TransactionReply, "key:read")
