"""Txn: several operations at once, all or none.

What is wrong with an operation by itself is told as what fails when it is done: by its position, beside the others'. So a
transaction that cannot be is never replicated, and its caller sees no difference. One that was done before, and could not be
any more, is told what it was told then.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from chowk.core import limits
from chowk.core.commands import Applied, Transaction
from chowk.core.errors import ChowkError, InvalidRequest, OutcomeUnknown, TooLarge
from chowk.core.records.check import HealthCheck
from chowk.core.records.kv import FLAGS_MAX, KEY_BYTES_MAX, VALUE_BYTES_MAX
from chowk.core.records.node import Node
from chowk.core.records.operation import (
    DELETE,
    DELETE_CAS,
    DELETE_TREE,
    GET,
    OPERATIONS_MAX,
    CheckOperation,
    KeyOperation,
    NodeOperation,
    Operation,
    OperationError,
    Outcome,
    ServiceOperation,
    is_write,
    verb_problem,
)
from chowk.core.registration_rules import checked_service
from chowk.core.requests import Write
from chowk.core.txn_requests import TXN_APPLY, TXN_READ, OutcomeReply, TransactionQuery, TransactionReply
from chowk.server.rpc.context import ServerContext
from chowk.server.rpc.registration import check_node, checked_check
from chowk.server.state.changes import Changes
from chowk.server.state.store import Store
from chowk.server.state.transaction import run, topics_of

INDEX_MAX: Final = 2**63 - 1
NO_LONGER_KNOWN: Final = (
    "this transaction was sent twice: it was {} at index {}, once, and what it answered is not kept"
)


def serve(context: ServerContext) -> None:
    """Offer this noun's methods."""
    context.leader.serve(TXN_APPLY, partial(_apply, context))
    context.gate.serve(TXN_READ, partial(_read, context))


async def _apply(context: ServerContext, write: Write) -> OutcomeReply:
    context.reads.check_datacenter(write.datacenter)
    context.writes.admit(write, (Transaction,), TXN_APPLY.name)
    command = write.command
    if not isinstance(command, Transaction):
        raise InvalidRequest("a transaction was expected")
    store = context.machine.store
    known = store.sessions.recall(write.client, write.sequence)
    if isinstance(known, Applied):
        result = store.outcomes.recall(write.client, write.sequence, known)
    else:
        operations, errors = _checked(store, command.operations, context.options.datacenter)
        if errors:
            return OutcomeReply(index=max(1, store.index), outcome=Outcome(errors=errors))
        result = await context.writes.apply(Transaction(operations=operations), write.client, write.sequence)
    if not isinstance(result.value, Outcome):
        raise OutcomeUnknown(NO_LONGER_KNOWN.format("done" if result.ok else "refused", result.index))
    return OutcomeReply(index=result.index, outcome=result.value)


async def _read(context: ServerContext, query: TransactionQuery) -> TransactionReply:
    if any(map(is_write, query.operations)):
        raise InvalidRequest("a transaction that writes is not read")
    operations, errors = _checked(context.machine.store, query.operations, context.options.datacenter)
    if errors:
        meta, _ = await context.reads.run(msgspec.structs.replace(query.options, min_index=0), (), lambda _store: None)
        return TransactionReply(meta=meta, outcome=Outcome(errors=errors))
    topics = topics_of(operations)
    meta, outcome = await context.reads.run(
        query.options, topics, lambda store: run(store, Changes(store, store.index, 0.0), operations)
    )
    return TransactionReply(meta=meta, outcome=outcome)


def _checked(
    store: Store, operations: tuple[Operation, ...], datacenter: str
) -> tuple[tuple[Operation, ...], tuple[OperationError, ...]]:
    """The operations as they will be done, and what is wrong with those that may not be."""
    if len(operations) > OPERATIONS_MAX:
        raise TooLarge(f"Transaction contains too many operations ({len(operations)} > {OPERATIONS_MAX})")
    checked, errors = [], []
    for position, operation in enumerate(operations):
        try:
            checked.append(_checked_operation(store, operation, datacenter))
        except ChowkError as error:
            errors.append(OperationError(position=position, what=str(error)))
    return tuple(checked), tuple(errors)


def _checked_operation(store: Store, operation: Operation, datacenter: str) -> Operation:
    problem = verb_problem(operation)
    if problem:
        raise InvalidRequest(problem)
    if not 0 <= operation.index <= INDEX_MAX:
        raise InvalidRequest("Invalid index: must be an unsigned number of 63 bits")
    is_named_only = operation.verb in (GET, DELETE, DELETE_CAS)
    match operation:
        case KeyOperation():
            _check_key(operation)
            return operation
        case NodeOperation():
            node = _checked_node(store, operation.node, datacenter, is_named_only=is_named_only, verb=operation.verb)
            return msgspec.structs.replace(operation, node=node)
        case ServiceOperation():
            service = operation.service if is_named_only else checked_service(operation.service)
            limits.check_name(operation.node, "Node name")
            if is_named_only:
                limits.check_name(service.id, "Service ID", chars_max=2 * limits.NAME_CHARS_MAX)
            return msgspec.structs.replace(operation, service=service)
        case CheckOperation():
            return msgspec.structs.replace(operation, check=_named_or_checked(store, operation.check, is_named_only))


def _check_key(operation: KeyOperation) -> None:
    if not operation.key and operation.verb != DELETE_TREE:
        raise InvalidRequest("Must provide key")
    if len(operation.key) > KEY_BYTES_MAX:
        raise InvalidRequest(f"Key is too long (limit: {KEY_BYTES_MAX} bytes)")
    if len(operation.value) > VALUE_BYTES_MAX:
        raise TooLarge(f"Value for key is too large ({len(operation.value)} > {VALUE_BYTES_MAX} bytes)")
    if not 0 <= operation.flags <= FLAGS_MAX:
        raise InvalidRequest("Invalid flags: must be an unsigned number of 64 bits")
    limits.check_text(operation.session, "Session")


def _checked_node(store: Store, node: Node, datacenter: str, *, is_named_only: bool, verb: str) -> Node:
    if not node.node and not (verb == GET and node.id):
        raise InvalidRequest("Must provide node")
    if is_named_only:
        limits.check_text(node.node, "Node name")
    else:
        check_node(store, node)
    return msgspec.structs.replace(node, datacenter=datacenter, create_index=0, modify_index=0)


def _named_or_checked(store: Store, check: HealthCheck, is_named_only: bool) -> HealthCheck:
    limits.check_name(check.node, "Node name")
    if not is_named_only:
        return checked_check(store, check, check.node)
    check_id = check.check_id or check.name
    limits.check_name(check_id, "Check ID", chars_max=2 * limits.TEXT_CHARS_MAX)
    return msgspec.structs.replace(check, check_id=check_id)
