"""`GET /v1/openapi.json`: the API in OpenAPI 3.1, made from the route table and the types of its bodies and answers.

`document` is pure. What a route says of itself (methods, path, permission, docstring) is taken from it; the rest is in
`openapi_operations` and `openapi_parameters`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import msgspec
from aiohttp import web

from chowk import __version__
from chowk.agent.api.openapi_operations import OPERATIONS, Bytes, Nothing, Operation
from chowk.agent.api.openapi_parameters import EVERYWHERE, PARAMETERS
from chowk.agent.api.replies import json_bytes_reply
from chowk.agent.api.request import ApiRequest
from chowk.agent.api.route import ANYONE, Route

PART: Final = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^{}]*\})?[^{}]*)?\}")
"""A part of an aiohttp path: `{name}` or `{name:pattern}`."""
JSON: Final = "application/json"
TEXT: Final = "text/plain"
READ_HEADERS: Final = (
    "X-Consul-Index",
    "X-Consul-KnownLeader",
    "X-Consul-LastContact",
    "X-Consul-Effective-Consistency",
    "X-Consul-Query-Backend",
)
ERRORS: Final = {
    400: "The request is not right; the text says what is not.",
    401: "Access control is off.",
    403: "Not for this client.",
    404: "There is no such thing.",
    405: "Another method is meant.",
    408: "The body did not arrive in time.",
    409: "Nothing was changed.",
    413: "The body is too large.",
    429: "Too much at once.",
    431: "The request's head is too large.",
    500: "No leader, no path to the datacenter, or a fault.",
    501: "Gossip is off.",
    503: "Not available now.",
}
ALWAYS: Final = (400, 403, 405, 429, 431, 500, 503)
WITH_BODY: Final = (408, 413)
INTRODUCTION: Final = (
    "Consul's HTTP API as chowk serves it. HEAD is answered wherever GET is, and OPTIONS everywhere. An error's body is "
    "plain text. Keys of bodies compare without case."
)


def document(routes: Sequence[Route]) -> dict[str, Any]:
    """The description of `routes`. KeyError when an operation is not described."""
    types = {id(kind): kind for operation in OPERATIONS.values() for kind in _types(operation)}
    schemas, components = msgspec.json.schema_components(
        list(types.values()), ref_template="#/components/schemas/{name}"
    )
    by_type = dict(zip(types, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path = plain_path(route.path)
        for method in route.methods:
            paths.setdefault(path, {})[method.lower()] = _operation(route, method, path, by_type)
    return {
        "openapi": "3.1.0",
        "info": {"title": "chowk", "version": __version__, "description": INTRODUCTION},
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": components,
            "parameters": {name: _parameter(name) for name in sorted(PARAMETERS)},
            "responses": {str(status): _error(text) for status, text in ERRORS.items()},
            "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Consul-Token"}},
        },
    }


def plain_path(path: str) -> str:
    """aiohttp's `/v1/kv/{key:.*}` as `/v1/kv/{key}`."""
    return PART.sub(r"{\1}", path)


def _types(operation: Operation) -> Iterator[Any]:
    for kind in (operation.answer, operation.body):
        if kind not in (None, Bytes, Nothing):
            yield kind


def _operation(route: Route, method: str, path: str, schemas: dict[int, Any]) -> dict[str, Any]:
    told = OPERATIONS[f"{method} {path}"]
    summary = " ".join((route.handler.__doc__ or "").split())
    found: dict[str, Any] = {
        "operationId": f"{method.lower()}{re.sub(r'[^A-Za-z0-9]+', '_', path.removeprefix('/v1'))}".rstrip("_"),
        "summary": summary.partition(". ")[0].rstrip("."),
        "description": summary,
        "tags": [path.split("/")[2].removesuffix(".json")],
        "parameters": [*_parts(path), *_references(told, route)],
        "responses": _responses(told, schemas),
    }
    if route.permission != ANYONE:
        found["security"] = [{}, {"token": []}]
        found["x-permission"] = route.permission
    if told.body is not None:
        kind, schema = (JSON, schemas[id(told.body)]) if told.body is not Bytes else ("application/octet-stream", {})
        found["requestBody"] = {"content": {kind: {"schema": schema}}}
    return found


def _parts(path: str) -> list[dict[str, Any]]:
    schema = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in PART.findall(path)]


def _references(told: Operation, route: Route) -> list[dict[str, Any]]:
    names = dict.fromkeys((*EVERYWHERE, *told.query))
    return [
        _parameter(name, many=True) if name in route.repeatable else {"$ref": f"#/components/parameters/{name}"}
        for name in names
    ]


def _parameter(name: str, *, many: bool = False) -> dict[str, Any]:
    schema, text = PARAMETERS[name]
    found = {"name": name, "in": "query", "schema": {"type": "array", "items": schema} if many else schema}
    return {**found, "description": text, "allowEmptyValue": True}


def _responses(told: Operation, schemas: dict[int, Any]) -> dict[str, Any]:
    content = _content(told, schemas)
    success: dict[str, Any] = {"description": "Done."}
    if content:
        success["content"] = content
    if told.is_read:
        success["headers"] = {name: {"schema": {"type": "string"}} for name in READ_HEADERS}
    with_body = WITH_BODY if told.body is not None else ()
    statuses = sorted({*ALWAYS, *with_body, *told.other, *told.same})
    return {
        "200": success,
        **{str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses if status not in told.same},
        **{str(status): _also(status, content) for status in told.same},
    }


def _also(status: int, content: dict[str, Any]) -> dict[str, Any]:
    """An answer of the usual type, or an error in words."""
    return {"description": ERRORS[status], "content": {TEXT: {"schema": {"type": "string"}}, **content}}


def _content(told: Operation, schemas: dict[int, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if told.answer is Nothing:
        found[TEXT] = {"schema": {"type": "string", "maxLength": 0}}
    elif told.answer is not Bytes:
        found[JSON] = {"schema": schemas[id(told.answer)]}
    if told.text:
        found[told.text] = {"schema": {}}
    return found


def _error(text: str) -> dict[str, Any]:
    return {"description": text, "content": {TEXT: {"schema": {"type": "string"}}}}


@lru_cache(maxsize=1)
def _encoded() -> bytes:
    from chowk.agent.api.routes import ROUTES as ALL  # the table lists this module, too

    return msgspec.json.encode(document(ALL))


async def describe(request: ApiRequest) -> web.Response:
    """This description. Beyond Consul."""
    return json_bytes_reply(request, _encoded())


ROUTES: Final = (Route(("GET",), "/v1/openapi.json", describe, ANYONE),)
