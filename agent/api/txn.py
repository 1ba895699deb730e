"""`PUT /v1/txn`: several operations on keys, nodes, services and checks, all or none."""

from __future__ import annotations

from base64 import b64decode
from binascii import Error as NotBase64
from typing import Any, Final

import msgspec
from aiohttp import web

from chowk.agent.api import body
from chowk.agent.api.errors import HttpError, bad_request
from chowk.agent.api.kv import Pair, pair_of
from chowk.agent.api.reads import fetch_with, read_by
from chowk.agent.api.registration import CheckBody, Scoped, ServiceBody, check_record, refuse_scope, service_record
from chowk.agent.api.replies import json_reply, set_meta
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import Route
from chowk.core import codec
from chowk.core.commands import Transaction
from chowk.core.records.base import Record
from chowk.core.records.check import HealthCheck
from chowk.core.records.kv import FLAGS_MAX, VALUE_BYTES_MAX
from chowk.core.records.node import Node
from chowk.core.records.operation import (
    OPERATIONS_MAX,
    CheckOperation,
    KeyOperation,
    NodeOperation,
    Operation,
    OperationResult,
    Outcome,
    ServiceOperation,
    is_write,
)
from chowk.core.records.service import NodeService
from chowk.core.requests import QueryMeta
from chowk.core.txn_requests import TXN_APPLY, TXN_READ, TransactionQuery

INDEX_MAX: Final = 2**63 - 1


class KeyBody(Record, frozen=True, kw_only=True):
    """`KV` of an operation. `value` is base64."""

    verb: str = ""
    key: str = ""
    value: str | None = None
    flags: int = 0
    index: int = 0
    session: str = ""
    namespace: str = ""
    partition: str = ""


class NodeFields(Scoped, frozen=True, kw_only=True):
    """The node of an operation; its ModifyIndex is what is compared."""

    id: str = ""
    node: str = ""
    address: str = ""
    datacenter: str = ""
    tagged_addresses: dict[str, str] = msgspec.field(default_factory=dict)
    meta: dict[str, str] = msgspec.field(default_factory=dict)
    locality: dict[str, str] | None = None


class NodeBody(Record, frozen=True, kw_only=True):
    """`Node` of an operation."""

    verb: str = ""
    node: NodeFields = NodeFields()


class ServiceOperationBody(Record, frozen=True, kw_only=True):
    """`Service` of an operation: of the node of that name."""

    verb: str = ""
    node: str = ""
    service: ServiceBody = ServiceBody()


class CheckOperationBody(Record, frozen=True, kw_only=True):
    """`Check` of an operation."""

    verb: str = ""
    check: CheckBody = CheckBody()


class OperationBody(msgspec.Struct, frozen=True, kw_only=True):
    """One operation: exactly one of them."""

    kv: KeyBody | None = msgspec.field(default=None, name="KV")
    node: NodeBody | None = msgspec.field(default=None, name="Node")
    service: ServiceOperationBody | None = msgspec.field(default=None, name="Service")
    check: CheckOperationBody | None = msgspec.field(default=None, name="Check")


class ResultShown(msgspec.Struct, frozen=True, kw_only=True):
    """One result, as Consul shows it: what it is not of is left out."""

    kv: Pair | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="KV")
    node: Node | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="Node")
    service: NodeService | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="Service")
    check: HealthCheck | msgspec.UnsetType = msgspec.field(default=msgspec.UNSET, name="Check")


class ErrorShown(Record, frozen=True, kw_only=True):
    """Why the operation at `op_index` failed."""

    op_index: int
    what: str


class OutcomeShown(Record, frozen=True, kw_only=True):
    """Either is null."""

    results: tuple[ResultShown, ...] | None
    errors: tuple[ErrorShown, ...] | None


async def put(request: ApiRequest) -> web.Response:
    """200 with the results; 409 with the reasons when an operation failed, and nothing was changed."""
    limits = request.context.config().limits
    given = _parsed(await body.read(request.http, min(limits.txn_max_req_len, VALUE_BYTES_MAX)))
    context = _Context(request.context.config().datacenter, limits.kv_max_value_size)
    operations = tuple(context.operation(at, operation) for at, operation in enumerate(given))
    if not any(map(is_write, operations)):
        query = TransactionQuery(operations=operations)
        what = (TXN_READ.name, codec.pack(query))  # its records cannot be a key themselves
        reply = await read_by(request, what, fetch_with(request.context.client, TXN_READ, query))
        return _shown(request, reply.outcome, reply.meta)
    client = request.context.client
    command = Transaction(operations=operations)
    message = client.next_write(command, datacenter=request.query.get("dc"), token=request.token)
    return _shown(request, (await client.call(TXN_APPLY, message)).outcome)


def _parsed(data: bytes) -> tuple[OperationBody, ...]:
    try:
        listed = body.decode_json(data)
        if isinstance(listed, list) and len(listed) > OPERATIONS_MAX:
            raise HttpError(413, f"Transaction contains too many operations ({len(listed)} > {OPERATIONS_MAX})")
        return body.convert([] if listed is None else listed, tuple[OperationBody, ...])
    except HttpError as error:  # Consul has other words here than elsewhere
        raise HttpError(error.status, str(error).replace("Request decode failed", "Failed to parse body", 1)) from None


class _Context:
    """From bodies to operations. HttpError for what cannot be one; what it cannot do is for the servers to say."""

    def __init__(self, datacenter: str, value_bytes_max: int) -> None:
        self._datacenter = datacenter
        self._value_bytes_max = value_bytes_max

    def operation(self, at: int, given: OperationBody) -> Operation:
        """The operation at this position."""
        if sum(part is not None for part in (given.kv, given.node, given.service, given.check)) != 1:
            raise bad_request(f"operation {at} must have exactly one of KV, Node, Service and Check")
        if given.kv is not None:
            return self._key(at, given.kv)
        if given.node is not None:
            return self._node(at, given.node)
        if given.service is not None:
            fields = given.service.service
            refuse_scope(fields, fields.datacenter, self._datacenter)
            index = _number(at, "ModifyIndex", fields.modify_index, INDEX_MAX)
            service = service_record(fields)
            return ServiceOperation(verb=given.service.verb, node=given.service.node, service=service, index=index)
        check = (given.check or CheckOperationBody()).check
        refuse_scope(check, "", self._datacenter)
        index = _number(at, "ModifyIndex", check.modify_index, INDEX_MAX)
        verb = (given.check or CheckOperationBody()).verb
        return CheckOperation(verb=verb, check=check_record(check, check.node), index=index)

    def _key(self, at: int, given: KeyBody) -> KeyOperation:
        refuse_scope(Scoped(namespace=given.namespace, partition=given.partition), "", self._datacenter)
        try:
            value = b64decode("".join((given.value or "").split("\n")), validate=True)
        except (NotBase64, ValueError) as error:
            raise bad_request(f"Failed to parse body: the value of operation {at} is not base64: {error}") from None
        if len(value) > self._value_bytes_max:
            text = f'Value for key "{given.key[:64]}" is too large ({len(value)} > {self._value_bytes_max} bytes)'
            raise HttpError(413, text)
        return KeyOperation(
            verb=given.verb,
            key=given.key.encode(),
            value=value,
            flags=_number(at, "Flags", given.flags, FLAGS_MAX),
            index=_number(at, "Index", given.index, INDEX_MAX),
            session=given.session,
        )

    def _node(self, at: int, given: NodeBody) -> NodeOperation:
        fields = given.node
        refuse_scope(fields, fields.datacenter, self._datacenter)
        node = Node(
            id=fields.id.lower(),
            node=fields.node,
            address=fields.address,
            datacenter=self._datacenter,
            tagged_addresses=fields.tagged_addresses,
            meta=fields.meta,
        )
        return NodeOperation(
            verb=given.verb, node=node, index=_number(at, "ModifyIndex", fields.modify_index, INDEX_MAX)
        )


def _number(at: int, name: str, value: int, largest: int) -> int:
    if not 0 <= value <= largest:
        raise bad_request(f"Failed to parse body: {name} of operation {at} is not a number from 0 to {largest}")
    return value


def _shown(request: ApiRequest, outcome: Outcome, meta: QueryMeta | None = None) -> web.Response:
    errors = tuple(ErrorShown(op_index=error.position, what=error.what) for error in outcome.errors)
    value: Any = OutcomeShown(
        results=None if errors else tuple(map(_shown_result, outcome.results)), errors=errors or None
    )
    response = json_reply(request, value, status=409 if errors else 200)
    if meta is not None:
        set_meta(response, meta)
    return response


def _shown_result(result: OperationResult) -> ResultShown:
    if result.key is not None:
        return ResultShown(kv=pair_of(result.key))
    if result.node is not None:
        return ResultShown(node=result.node)
    if result.service is not None:
        return ResultShown(service=result.service)
    return ResultShown() if result.check is None else ResultShown(check=result.check)


ROUTES: Final = (Route(("PUT",), "/v1/txn", put, "key:write"),)
