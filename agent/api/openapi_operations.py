"""What each operation of the route table takes and answers, for `openapi`. Pure data; a test holds it to the routes.

A key is `METHOD path`, the path without patterns. What all operations share (permissions, errors, summaries) is not here: it
comes from the routes themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from chowk.agent.api.agent_bypass import BypassBody
from chowk.agent.api.agent_checks import CheckUpdate
from chowk.agent.api.agent_connect import AuthorizeBody
from chowk.agent.api.agent_records import AgentService
from chowk.agent.api.autopilot import ConfigurationBody as AutopilotBody
from chowk.agent.api.catalog_service import CatalogService
from chowk.agent.api.connect import ConfigurationBody as CABody
from chowk.agent.api.coordinate import UpdateBody
from chowk.agent.api.discovery_chain import OverridesBody
from chowk.agent.api.intentions import IntentionBody
from chowk.agent.api.keyring import KeyBody
from chowk.agent.api.kv import Pair
from chowk.agent.api.openapi_parameters import READ
from chowk.agent.api.prepared_queries import ExecuteShown, QueryBody
from chowk.agent.api.registration import DeregisterBody, RegisterBody
from chowk.agent.api.session import SessionBody, SessionReply
from chowk.agent.api.txn import OperationBody, OutcomeShown
from chowk.connect.intentions.explanation import Explanation
from chowk.core.records.ca import CARoots, LeafCertificate
from chowk.core.records.check import HealthCheck
from chowk.core.records.coordinate import NodeCoordinate
from chowk.core.records.instance import ServiceInstance
from chowk.core.records.intention import Intention
from chowk.core.records.node import Node
from chowk.core.records.prepared_query import PreparedQuery


class Nothing:
    """200 without a body."""


class Bytes:
    """A body of any bytes."""


Answer = Any
JsonObject = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """`query` names parameters of `openapi_parameters`; `body` and `answer` are types, Bytes or Nothing. `other` are codes
    besides 200 and the usual errors with a text, `same` those whose body is of the answer's type. `is_read` says that the
    headers of a read come with the answer, `text` in which other form than JSON it may come.
    """

    answer: Answer = Nothing
    query: tuple[str, ...] = ()
    body: Any = None
    other: tuple[int, ...] = ()
    same: tuple[int, ...] = ()
    is_read: bool = False
    text: str = ""


def _read(answer: Answer, *query: str, other: tuple[int, ...] = (), text: str = "") -> Operation:
    return Operation(answer, (*READ, *query), other=other, is_read=True, text=text)


_NODES = ("node-meta", "filter")
_CHECK = ("note",)
_INSTANCES = ("cached", "passing", "tag", "near", "node-meta", "filter")
_WEIGHED = Operation(JsonObject, ("format",), other=(404,), same=(404, 429, 503), text="text/plain")
_TELL = Operation(query=_CHECK, other=(404,))
_MAINTENANCE = ("enable", "reason")
_FORBIDDEN = Operation(other=(401,))
_CHAIN = (*READ, "compile-dc")

OPERATIONS: Final[dict[str, Operation]] = {
    "GET /v1/openapi.json": Operation(JsonObject),
    # the agent
    "GET /v1/agent/services": Operation(dict[str, AgentService], ("filter",)),
    "PUT /v1/agent/service/register": Operation(query=("replace-existing-checks",), body=JsonObject),
    "PUT /v1/agent/service/deregister/{id}": Operation(other=(404,)),
    "PUT /v1/agent/service/maintenance/{id}": Operation(query=_MAINTENANCE, other=(404,)),
    "GET /v1/agent/service/{id}": Operation(AgentService, ("hash", "wait"), other=(404,)),
    "GET /v1/agent/health/service/id/{id}": _WEIGHED,
    "GET /v1/agent/health/service/name/{name}": Operation(
        list[JsonObject], ("format",), other=(404,), same=(404, 429, 503), text="text/plain"
    ),
    "GET /v1/agent/checks": Operation(dict[str, HealthCheck], ("filter",)),
    "PUT /v1/agent/check/register": Operation(body=JsonObject, other=(404,)),
    "PUT /v1/agent/check/deregister/{id}": Operation(other=(404,)),
    "PUT /v1/agent/check/pass/{id}": _TELL,
    "PUT /v1/agent/check/warn/{id}": _TELL,
    "PUT /v1/agent/check/fail/{id}": _TELL,
    "PUT /v1/agent/check/update/{id}": Operation(body=CheckUpdate, other=(404,)),
    "GET /v1/agent/self": Operation(JsonObject),
    "GET /v1/agent/members": Operation(list[JsonObject], ("wan", "segment", "filter")),
    "GET /v1/agent/host": Operation(JsonObject),
    "GET /v1/agent/version": Operation(dict[str, str]),
    "GET /v1/agent/metrics": Operation(JsonObject, ("format",), text="text/plain"),
    "GET /v1/agent/metrics/certificates": Operation(Any),
    "GET /v1/agent/bypass": Operation(list[JsonObject], other=(404,)),
    "PUT /v1/agent/bypass": Operation(JsonObject, body=BypassBody, other=(404,)),
    "DELETE /v1/agent/bypass/{service}": Operation(bool, ("by",), other=(404,)),
    "GET /v1/agent/tap": Operation(
        Bytes, ("service", "direction", "peer", "method", "path", "status", "rate", "for"), other=(404, 429)
    ),
    "GET /v1/agent/traffic": Operation(JsonObject, ("service", "window"), other=(404,)),
    "GET /v1/agent/monitor": Operation(Bytes, ("loglevel", "logjson"), text="text/plain"),
    "PUT /v1/agent/join/{address}": Operation(query=("wan",), other=(404, 501)),
    "PUT /v1/agent/leave": Operation(),
    "PUT /v1/agent/force-leave/{node}": Operation(query=("prune",), other=(404, 501)),
    "PUT /v1/agent/reload": Operation(),
    "PUT /v1/agent/maintenance": Operation(query=_MAINTENANCE),
    "PUT /v1/agent/token/{type}": _FORBIDDEN,
    "POST /v1/agent/connect/authorize": Operation(JsonObject, body=AuthorizeBody),
    "PUT /v1/agent/connect/authorize": Operation(JsonObject, body=AuthorizeBody),
    "GET /v1/agent/connect/ca/roots": _read(CARoots),
    "GET /v1/agent/connect/ca/leaf/{service}": _read(LeafCertificate),
    # the registry
    "GET /v1/status/leader": Operation(str),
    "GET /v1/status/peers": Operation(list[str]),
    "GET /v1/catalog/datacenters": Operation(list[str]),
    "GET /v1/catalog/nodes": _read(list[Node], "cached", "near", *_NODES),
    "GET /v1/catalog/services": _read(dict[str, list[str]], "cached", *_NODES),
    "GET /v1/catalog/service/{service}": _read(list[CatalogService], *_INSTANCES),
    "GET /v1/catalog/connect/{service}": _read(list[CatalogService], *_INSTANCES),
    "GET /v1/catalog/node/{node}": _read(JsonObject | None, "filter"),
    "GET /v1/catalog/node-services/{node}": _read(JsonObject, "filter"),
    "GET /v1/catalog/gateway-services/{gateway}": _read(list[JsonObject]),
    "PUT /v1/catalog/register": Operation(bool, body=RegisterBody),
    "PUT /v1/catalog/deregister": Operation(bool, body=DeregisterBody),
    "GET /v1/health/service/{service}": _read(list[ServiceInstance], *_INSTANCES),
    "GET /v1/health/connect/{service}": _read(list[ServiceInstance], *_INSTANCES),
    "GET /v1/health/node/{node}": _read(list[HealthCheck], *_NODES),
    "GET /v1/health/checks/{service}": _read(list[HealthCheck], "near", *_NODES),
    "GET /v1/health/state/{state}": _read(list[HealthCheck], "near", *_NODES),
    "GET /v1/health/ingress/{service}": _read(list[ServiceInstance]),
    "GET /v1/coordinate/datacenters": Operation(list[JsonObject]),
    "GET /v1/coordinate/nodes": _read(list[NodeCoordinate], "segment"),
    "GET /v1/coordinate/node/{node}": _read(list[NodeCoordinate], "segment", other=(404,)),
    "PUT /v1/coordinate/update": Operation(body=UpdateBody),
    # keys and sessions
    "GET /v1/kv/{key}": _read(
        list[Pair | str], "recurse", "keys", "separator", "raw", other=(404,), text="application/octet-stream"
    ),
    "PUT /v1/kv/{key}": Operation(bool, ("flags", "cas", "acquire", "release"), body=Bytes),
    "DELETE /v1/kv/{key}": Operation(bool, ("recurse", "cas")),
    "PUT /v1/txn": Operation(OutcomeShown, READ, body=list[OperationBody], same=(409,)),
    "PUT /v1/session/create": Operation(dict[str, str], body=SessionBody),
    "PUT /v1/session/destroy/{id}": Operation(bool),
    "PUT /v1/session/renew/{id}": Operation(list[SessionReply], other=(404,)),
    "GET /v1/session/info/{id}": _read(list[SessionReply]),
    "GET /v1/session/node/{node}": _read(list[SessionReply]),
    "GET /v1/session/list": _read(list[SessionReply]),
    # queries and events
    "GET /v1/query": _read(list[PreparedQuery]),
    "POST /v1/query": Operation(dict[str, str], body=QueryBody),
    "GET /v1/query/{id}": _read(list[PreparedQuery], other=(404,)),
    "PUT /v1/query/{id}": Operation(body=QueryBody, other=(404,)),
    "DELETE /v1/query/{id}": Operation(),
    "GET /v1/query/{query}/execute": _read(ExecuteShown, "near", "limit", "connect", other=(404,)),
    "GET /v1/query/{query}/explain": _read(JsonObject, "near", "limit", other=(404,)),
    "PUT /v1/event/fire/{name}": Operation(JsonObject, ("node", "service", "tag"), body=Bytes, other=(501,)),
    "GET /v1/event/list": Operation(list[JsonObject], (*READ, "name"), is_read=True, other=(501,)),
    # the mesh
    "GET /v1/connect/ca/roots": _read(CARoots, "pem", text="application/pem-certificate-chain"),
    "GET /v1/connect/ca/configuration": _read(JsonObject),
    "PUT /v1/connect/ca/configuration": Operation(body=CABody),
    "PUT /v1/connect/ca/rotate": Operation(dict[str, str], ("emergency", "distrust")),
    "GET /v1/connect/intentions": _read(list[Intention], "filter"),
    "POST /v1/connect/intentions": Operation(dict[str, str], body=IntentionBody),
    "GET /v1/connect/intentions/exact": _read(Intention, "source", "destination", other=(404,)),
    "PUT /v1/connect/intentions/exact": Operation(bool, ("source", "destination"), body=IntentionBody),
    "DELETE /v1/connect/intentions/exact": Operation(bool, ("source", "destination")),
    "GET /v1/connect/intentions/why": Operation(
        Explanation, (*READ, "source", "destination", "method", "path", "header"), is_read=True
    ),
    "GET /v1/connect/intentions/match": _read(dict[str, list[Intention]], "by", "name"),
    "GET /v1/connect/intentions/check": _read(JsonObject, "source", "destination"),
    "GET /v1/connect/intentions/{id}": _read(Intention, other=(404,)),
    "PUT /v1/connect/intentions/{id}": Operation(dict[str, str], body=IntentionBody, other=(404,)),
    "DELETE /v1/connect/intentions/{id}": Operation(bool, other=(404,)),
    "PUT /v1/config": Operation(bool, ("cas", "force"), body=JsonObject),
    "PUT /v1/config/plan": Operation(JsonObject, (*READ, "force"), body=list[JsonObject], is_read=True),
    "GET /v1/config/{path}": _read(Any, "filter", other=(404,)),
    "DELETE /v1/config/{path}": Operation(Any, ("cas",)),
    "GET /v1/discovery-chain/{service}": Operation(JsonObject, _CHAIN, is_read=True),
    "POST /v1/discovery-chain/{service}": Operation(JsonObject, _CHAIN, body=OverridesBody, is_read=True),
    # the servers
    "GET /v1/operator/raft/configuration": Operation(JsonObject),
    "DELETE /v1/operator/raft/peer": Operation(query=("id", "address"), other=(404,)),
    "POST /v1/operator/raft/transfer-leader": Operation(JsonObject, ("id",), other=(404,)),
    "PUT /v1/operator/raft/transfer-leader": Operation(JsonObject, ("id",), other=(404,)),
    "GET /v1/operator/autopilot/configuration": _read(JsonObject),
    "PUT /v1/operator/autopilot/configuration": Operation(bool, ("cas",), body=AutopilotBody),
    "GET /v1/operator/autopilot/health": Operation(JsonObject, same=(429,)),
    "GET /v1/operator/autopilot/state": Operation(JsonObject),
    "GET /v1/snapshot": Operation(Bytes, ("stale",), text="application/x-gzip"),
    "PUT /v1/snapshot": Operation(body=Bytes),
    "GET /v1/operator/keyring": Operation(list[JsonObject], ("local-only", "relay-factor"), other=(501,)),
    "POST /v1/operator/keyring": Operation(query=("relay-factor",), body=KeyBody, other=(501,)),
    "PUT /v1/operator/keyring": Operation(query=("relay-factor",), body=KeyBody, other=(501,)),
    "DELETE /v1/operator/keyring": Operation(query=("relay-factor",), body=KeyBody, other=(501,)),
    **{f"{method} /v1/acl/{{path}}": _FORBIDDEN for method in ("GET", "PUT", "POST", "DELETE")},
}
