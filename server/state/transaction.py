"""Applies transactions: all operations, or none. Total. Called by `machine`; what only reads is called by `server.rpc.txn`.

The operations are first done on a rehearsal of the store. Each sees what those before it did, and one that fails changes
nothing, so that every failure is told, not only the first. Only when none failed are they done on the store itself, by the
same functions, with the same end. So there is nothing to undo, and a transaction that fails leaves no trace at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from chowk.core.commands import DeleteKey, DeleteKeys, Deregister, PutKey, Register, Transaction
from chowk.core.events import Topic
from chowk.core.records.kv import KVEntry
from chowk.core.records.node import Node
from chowk.core.records.operation import (
    CAS,
    CHECK_INDEX,
    CHECK_NOT_EXISTS,
    CHECK_SESSION,
    DELETE,
    DELETE_CAS,
    DELETE_TREE,
    GET,
    GET_OR_EMPTY,
    GET_TREE,
    LOCK,
    OPERATIONS_MAX,
    RESULT_BYTES_MAX,
    UNLOCK,
    CheckOperation,
    KeyOperation,
    NodeOperation,
    Operation,
    OperationError,
    OperationResult,
    Outcome,
    ServiceOperation,
    verb_problem,
)
from chowk.server.state import catalog, kv, queries
from chowk.server.state.changed import ALL_NODES
from chowk.server.state.changes import Changes
from chowk.server.state.kv_table import key_topic, prefix_topic
from chowk.server.state.rehearsal import rehearsal
from chowk.server.state.store import Store

Results = list[OperationResult]
ROW_BYTES: Final = 64
"""What stands around a key and its value, about."""


class Failed(Exception):
    """An operation that cannot be: the text is what its caller is told. Nothing was changed by it."""


def apply_transaction(store: Store, changes: Changes, command: Transaction) -> Outcome:
    """Do all of it, or nothing."""
    stage = rehearsal(store)
    outcome = run(stage, Changes(stage, changes.index, changes.time_s), command.operations)
    return outcome if outcome.errors else run(store, changes, command.operations)


def run(store: Store, changes: Changes, operations: tuple[Operation, ...]) -> Outcome:
    """Do the operations in order, passing over those that fail."""
    if len(operations) > OPERATIONS_MAX:
        what = f"Transaction contains too many operations ({len(operations)} > {OPERATIONS_MAX})"
        return Outcome(errors=(OperationError(position=OPERATIONS_MAX, what=what),))
    results: Results = []
    errors = []
    left = RESULT_BYTES_MAX
    for position, operation in enumerate(operations):
        try:
            found = _perform(store, changes, operation)
            left -= sum(_size(result.key) for result in found if result.key is not None)
            if left < 0:
                raise Failed(f"the results are over {RESULT_BYTES_MAX} bytes: read large trees by GET /v1/kv/")
            results += found
        except Failed as error:
            errors.append(OperationError(position=position, what=str(error)))
    return Outcome(errors=tuple(errors)) if errors else Outcome(results=tuple(results))


def topics_of(operations: Iterable[Operation]) -> tuple[Topic, ...]:
    """The topics whose change may change what the operations read."""
    return tuple(dict.fromkeys(_topic(operation) for operation in operations))


def _topic(operation: Operation) -> Topic:
    match operation:
        case KeyOperation():
            return (prefix_topic if operation.verb == GET_TREE else key_topic)(operation.key)
        case NodeOperation():
            return ALL_NODES if operation.node.id else queries.node_topic(operation.node.node)
        case ServiceOperation():
            return queries.node_services_topic(operation.node)
        case CheckOperation():
            return queries.node_topic(operation.check.node)


def _perform(store: Store, changes: Changes, operation: Operation) -> Results:
    problem = verb_problem(operation)
    if problem:
        raise Failed(problem)
    match operation:
        case KeyOperation():
            return _key(store, changes, operation)
        case NodeOperation():
            return _node(store, changes, operation)
        case ServiceOperation():
            return _service(store, changes, operation)
        case CheckOperation():
            return _check(store, changes, operation)


def _key(store: Store, changes: Changes, operation: KeyOperation) -> Results:
    if operation.verb in (GET, GET_OR_EMPTY, GET_TREE, CHECK_INDEX, CHECK_SESSION, CHECK_NOT_EXISTS):
        return _read_key(store, operation)
    if operation.verb == DELETE_TREE:
        kv.delete_keys(store, changes, DeleteKeys(prefix=operation.key))
        return []
    shown = _text(operation.key)
    if operation.verb in (DELETE, DELETE_CAS):
        cas = operation.index if operation.verb == DELETE_CAS else None
        if not kv.delete_key(store, changes, DeleteKey(key=operation.key, cas=cas)):
            raise Failed(f'failed to delete key "{shown}", index is stale')
        return []
    done = kv.put_key(store, changes, _put_of(operation))
    if isinstance(done, str):
        raise Failed(done)
    if not done:
        holder = getattr(store.kv.entries.get(operation.key), "session", "")
        text = _LOST[operation.verb] if holder or operation.verb != LOCK else _DELAYED
        raise Failed(text.format(shown))
    return [_without_value(store.kv.entries[operation.key])]


_LOST = {
    CAS: 'failed to set key "{}", index is stale',
    LOCK: 'failed to lock key "{}", lock is already held',
    UNLOCK: 'failed to unlock key "{}", lock isn\'t held, or is held by another session',
}
_DELAYED = 'failed to lock key "{}" due to lock delay'


def _put_of(operation: KeyOperation) -> PutKey:
    if operation.verb in (LOCK, UNLOCK) and not operation.session:
        raise Failed("missing session")
    return PutKey(
        key=operation.key,
        value=operation.value,
        flags=operation.flags,
        cas=operation.index if operation.verb == CAS else None,
        acquire=operation.session if operation.verb == LOCK else "",
        release=operation.session if operation.verb == UNLOCK else "",
    )


def _read_key(store: Store, operation: KeyOperation) -> Results:
    key, shown = operation.key, _text(operation.key)
    if operation.verb == GET_TREE:
        return _read_tree(store, key)
    entry = store.kv.entries.get(key)
    if operation.verb == GET_OR_EMPTY:
        asked = KVEntry(key=key, flags=operation.flags, session=operation.session, modify_index=operation.index)
        return [OperationResult(key=entry or asked)]
    if operation.verb == CHECK_NOT_EXISTS:
        if entry is not None:
            raise Failed(f'key "{shown}" exists')
        return []
    if operation.verb == GET:
        if entry is None:
            raise Failed(f'key "{shown}" doesn\'t exist')
        return [OperationResult(key=entry)]
    if operation.verb == CHECK_INDEX:
        if entry is None:
            raise Failed(f'failed to check index, key "{shown}" doesn\'t exist')
        if entry.modify_index != operation.index:
            raise Failed(
                f'failed index check for key "{shown}", current modify index {entry.modify_index} != {operation.index}'
            )
    elif entry is None:
        raise Failed(f'failed to check session, key "{shown}" doesn\'t exist')
    elif entry.session != operation.session:
        raise Failed(
            f'failed session check for key "{shown}", current session "{entry.session}" != "{operation.session}"'
        )
    return [_without_value(entry)]


def _read_tree(store: Store, prefix: bytes) -> Results:
    results: Results = []
    left = RESULT_BYTES_MAX
    for entry in store.kv.under(prefix):
        left -= _size(entry)
        if left < 0:
            raise Failed(f"the results are over {RESULT_BYTES_MAX} bytes: read large trees by GET /v1/kv/")
        results.append(OperationResult(key=entry))
    return results


def _node(store: Store, changes: Changes, operation: NodeOperation) -> Results:
    given = operation.node
    key = given.node.lower()
    _compare(operation.verb, operation.index, store.nodes.get(key), f'node "{given.node}"')
    if operation.verb in (DELETE, DELETE_CAS):
        catalog.deregister(store, changes, Deregister(node=given.node))
        return []
    if operation.verb != GET:
        catalog.register(store, changes, Register(node=given))
    if given.id:
        key = store.node_ids.get(given.id, key if operation.verb != GET else "")
    node = store.nodes.get(key)
    if node is None:
        raise Failed(f'node "{given.node}" doesn\'t exist')
    return [OperationResult(node=node)]


def _service(store: Store, changes: Changes, operation: ServiceOperation) -> Results:
    key = (operation.node.lower(), operation.service.id)
    shown = f'service "{operation.service.id}" on node "{operation.node}"'
    _compare(operation.verb, operation.index, store.services.get(key), shown)
    if operation.verb in (DELETE, DELETE_CAS):
        if key[1]:
            catalog.deregister(store, changes, Deregister(node=operation.node, service_id=key[1]))
        return []
    if operation.verb != GET:
        node = _registered(store, operation.node)
        catalog.register(store, changes, Register(node=node, service=operation.service, skip_node_update=True))
    service = store.services.get(key)
    if service is None:
        raise Failed(f"{shown} doesn't exist")
    return [OperationResult(service=service)]


def _check(store: Store, changes: Changes, operation: CheckOperation) -> Results:
    given = operation.check
    key = (given.node.lower(), given.check_id)
    shown = f'check "{given.check_id}" on node "{given.node}"'
    _compare(operation.verb, operation.index, store.checks.get(key), shown)
    if operation.verb in (DELETE, DELETE_CAS):
        if key[1]:
            catalog.deregister(store, changes, Deregister(node=given.node, check_id=key[1]))
        return []
    if operation.verb != GET:
        node = _registered(store, given.node)
        if given.service_id and (key[0], given.service_id) not in store.services:
            raise Failed("Missing service registration")
        catalog.register(store, changes, Register(node=node, checks=(given,), skip_node_update=True))
    check = store.checks.get(key)
    if check is None:
        raise Failed(f"{shown} doesn't exist")
    return [OperationResult(check=check)]


def _compare(verb: str, index: int, old: msgspec.Struct | None, shown: str) -> None:
    """Fail when the verb compares, and the thing is not as its caller knew it. What is gone cannot be deleted so."""
    found = getattr(old, "modify_index", 0)
    if verb == CAS and found != index:
        raise Failed(f"failed to set {shown}, index is stale")
    if verb == DELETE_CAS and (old is None or found != index):
        raise Failed(f"failed to delete {shown}, index is stale")


def _registered(store: Store, name: str) -> Node:
    node = store.nodes.get(name.lower())
    if node is None:
        raise Failed("Missing node registration")
    return node


def _without_value(entry: KVEntry) -> OperationResult:
    return OperationResult(key=msgspec.structs.replace(entry, value=b""))


def _size(entry: KVEntry) -> int:
    return len(entry.key) + len(entry.value) + ROW_BYTES


def _text(key: bytes) -> str:
    return key.decode("utf-8", "replace")
