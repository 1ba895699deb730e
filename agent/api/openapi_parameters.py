"""The query parameters that routes take, as OpenAPI says it. Pure data, read by `openapi`."""

from __future__ import annotations

from typing import Any, Final

FLAG: Final[dict[str, Any]] = {"type": "string", "enum": ["", "0", "1", "true", "false"]}
TEXT: Final[dict[str, Any]] = {"type": "string", "maxLength": 8192}
WORD: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": 8192}
NUMBER: Final[dict[str, Any]] = {"type": "integer", "minimum": 0, "maximum": 2**63 - 1}
DURATION: Final[dict[str, Any]] = {"type": "string", "pattern": r"^[0-9]{1,6}(ns|us|ms|s|m|h)$"}
PAIRS: Final[dict[str, Any]] = {"type": "array", "items": {"type": "string", "pattern": "^[^:]+:.*$"}, "maxItems": 16}
TEXTS: Final[dict[str, Any]] = {"type": "array", "items": TEXT, "maxItems": 16}

PARAMETERS: Final[dict[str, tuple[dict[str, Any], str]]] = {
    "dc": (TEXT, "The datacenter; this agent's when it is not given. Another one is answered `No path to datacenter`."),
    "token": (TEXT, "The ACL token; better sent as the header X-Consul-Token."),
    "pretty": (FLAG, "JSON laid out for people."),
    "index": (NUMBER, "Wait until something changed after this X-Consul-Index."),
    "wait": (DURATION, "How long to wait at most; 300s when it is not given, 600s at most."),
    "stale": (FLAG, "Any server may answer."),
    "consistent": (FLAG, "The leader asks a majority that it still leads before it answers."),
    "leader": (FLAG, "The leader answers, as by default."),
    "max_stale": (DURATION, "Any server may answer that heard of the leader in this time."),
    "cached": (FLAG, "Answer from this agent's memory."),
    "near": (TEXT, "Order by the distance from this node; `_agent` is this agent's."),
    "node-meta": (PAIRS, "`key:value` that the node must have; may come several times."),
    "filter": (TEXT, "An expression that keeps what matches."),
    "tag": (TEXTS, "A tag that the instance must have; may come several times."),
    "passing": (FLAG, "Only instances whose checks pass."),
    "hash": (TEXT, "Wait until X-Consul-ContentHash is another."),
    "format": (TEXT, "Another form of the answer."),
    "note": (TEXT, "Why, for people."),
    "enable": ({"type": "string", "enum": ["true", "false"]}, "Begin maintenance, or end it."),
    "reason": (TEXT, "Why, for people."),
    "replace-existing-checks": (FLAG, "Checks of the service that are not named here go."),
    "wan": (FLAG, "The servers of all datacenters."),
    "prune": (FLAG, "Forget the member altogether."),
    "loglevel": (
        {"type": "string", "enum": ["trace", "debug", "info", "warn", "error"]},
        "The least level of the lines that are sent.",
    ),
    "logjson": (FLAG, "Lines of JSON."),
    "emergency": (FLAG, "The new root signs at once."),
    "distrust": (FLAG, "The roots before it are trusted no more."),
    "pem": (FLAG, "The roots as PEM."),
    "source": (TEXT, "The name of the source service."),
    "destination": (TEXT, "The name of the destination service."),
    "by": ({"type": "string", "enum": ["source", "destination"]}, "Which end `name` is."),
    "name": (TEXT, "A name."),
    "cas": (NUMBER, "Write only when the ModifyIndex is this one (0: when there is none yet)."),
    "force": (FLAG, "Faults may be of any percentage; how long they last stays bounded."),
    "id": (TEXT, "The id of a server."),
    "address": (TEXT, "The address of a server."),
    "node": (TEXT, "A regular expression of nodes."),
    "service": (TEXT, "Services: a name; for events a regular expression."),
    "window": (DURATION, "The time that is looked back, from 1s to 60s; 10s when it is not given."),
    "direction": ({"type": "string", "enum": ["inbound", "outbound"]}, "Which way the request goes."),
    "peer": (TEXT, "The service at the other end."),
    "method": (TEXT, "An HTTP method."),
    "path": (TEXT, "How the path begins."),
    "header": (PAIRS, "`name:value`, a header of the request; may come several times."),
    "status": (
        {"type": "string", "enum": [*"12345", "1xx", "2xx", "3xx", "4xx", "5xx"]},
        "A class of status codes.",
    ),
    "rate": ({"type": "integer", "minimum": 1, "maximum": 1000}, "The most that a sidecar tells a second."),
    "for": (DURATION, "How long to look; at most 1h."),
    "recurse": (FLAG, "All keys that begin so."),
    "keys": (FLAG, "The names of the keys alone."),
    "separator": (TEXT, "List keys up to this, as folders."),
    "raw": (FLAG, "The value's bytes alone."),
    "flags": ({"type": "integer", "minimum": 0, "maximum": 2**64 - 1}, "A number to keep with the key."),
    "acquire": (WORD, "The session that takes the key's lock."),
    "release": (WORD, "The session that lets go of the key's lock."),
    "local-only": (FLAG, "Ask this agent's servers alone."),
    "relay-factor": (NUMBER, "Accepted, of no effect."),
    "segment": (TEXT, "A network segment; there is but the default one."),
    "compile-dc": (TEXT, "The datacenter to look from."),
    "connect": (FLAG, "Mesh-capable instances instead."),
    "limit": (NUMBER, "How many at most."),
}
"""By name: the schema, and what it means."""

EVERYWHERE: Final = ("dc", "token", "pretty")
READ: Final = ("index", "wait", "stale", "consistent", "leader", "max_stale")
"""Of reads that block and choose their consistency."""
