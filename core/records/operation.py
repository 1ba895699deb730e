"""One step of a transaction on a key, a node, a service or a check, and what a transaction ends in.

A command carries the operations, so their verbs are Consul's words and their fields plain data. `index` is what the thing's
modify index must be, for the verbs that compare it (0: it must not be there).
"""

from __future__ import annotations

from typing import Final

import msgspec

from chowk.core.records.check import HealthCheck
from chowk.core.records.kv import KVEntry
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService

OPERATIONS_MAX: Final = 64
RESULT_BYTES_MAX: Final = 8 * 1024 * 1024
"""Keys and values that one transaction may read; a larger tree is read with `GET /v1/kv/…?recurse`, in parts."""

GET: Final = "get"
SET: Final = "set"
CAS: Final = "cas"
DELETE: Final = "delete"
DELETE_CAS: Final = "delete-cas"
CATALOG_VERBS: Final = frozenset({GET, SET, CAS, DELETE, DELETE_CAS})

LOCK: Final = "lock"
UNLOCK: Final = "unlock"
GET_OR_EMPTY: Final = "get-or-empty"
GET_TREE: Final = "get-tree"
CHECK_INDEX: Final = "check-index"
CHECK_SESSION: Final = "check-session"
CHECK_NOT_EXISTS: Final = "check-not-exists"
DELETE_TREE: Final = "delete-tree"
KEY_READS: Final = frozenset({GET, GET_OR_EMPTY, GET_TREE, CHECK_INDEX, CHECK_SESSION, CHECK_NOT_EXISTS})
KEY_WRITES: Final = frozenset({SET, CAS, LOCK, UNLOCK, DELETE, DELETE_CAS, DELETE_TREE})


class KeyOperation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="kv"):
    """On a key; on all keys that begin so, for the tree verbs."""

    verb: str
    key: bytes = b""
    value: bytes = b""
    flags: int = 0
    index: int = 0
    session: str = ""


class NodeOperation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="node"):
    """On a node. Reading goes by its id, when there is one, else by its name."""

    verb: str
    node: Node
    index: int = 0


class ServiceOperation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="service"):
    """On a service instance of a node that is there."""

    verb: str
    node: str
    service: NodeService
    index: int = 0


class CheckOperation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="check"):
    """On a check of a node that is there."""

    verb: str
    check: HealthCheck
    index: int = 0


Operation = KeyOperation | NodeOperation | ServiceOperation | CheckOperation


class OperationResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one thing is after its operation: exactly one is set. A key that was written comes without its value."""

    key: KVEntry | None = None
    node: Node | None = None
    service: NodeService | None = None
    check: HealthCheck | None = None


class OperationError(msgspec.Struct, frozen=True, kw_only=True):
    """Why the operation at `position` (from 0) failed."""

    position: int
    what: str


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Of a transaction: with `errors` nothing was changed, and there are no results. Reads of a tree give several results,
    removals none."""

    results: tuple[OperationResult, ...] = ()
    errors: tuple[OperationError, ...] = ()


def is_write(operation: Operation) -> bool:
    """Whether the operation may change something; one with a verb that nobody knows may not."""
    if isinstance(operation, KeyOperation):
        return operation.verb in KEY_WRITES
    return operation.verb in CATALOG_VERBS and operation.verb != GET


def verb_problem(operation: Operation) -> str:
    """Consul's text for a verb that is none; "" for a good one."""
    kind = str(type(operation).__struct_config__.tag)
    known = KEY_READS | KEY_WRITES if isinstance(operation, KeyOperation) else CATALOG_VERBS
    if operation.verb in known:
        return ""
    return f'unknown {"KV" if kind == "kv" else kind.capitalize()} verb "{operation.verb[:64]}"'
