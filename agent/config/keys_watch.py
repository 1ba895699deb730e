"""The tables of the keys of a watch: a block of `watches` in the agent's files. Read by `build` through `keys_agent`."""

from __future__ import annotations

from chowk.agent.config.schema import Block, Duration, Flag, Key, Schema, Text, Texts, TextsMap

TYPES = (
    "key", "keyprefix", "services", "nodes", "service", "checks", "event", "connect_roots", "connect_leaf", "agent_service",
)  # fmt: skip

HTTP_HANDLER = Schema(
    "http_handler_config",
    (
        Key("path", Text(), "The URL that is told of a change, http:// or https://"),
        Key("method", Text(), "The request's method", '"POST"'),
        Key("timeout", Duration(minimum_s=0.001), "How long it may take", "10s"),
        Key("header", TextsMap(), "The request's headers", "{}"),
        Key("tls_skip_verify", Flag(), "Do not check the certificate of the URL's host", "false"),
    ),
)
WATCH = Schema(
    "watch",
    (
        Key("type", Text(choices=TYPES), "What to watch"),
        Key("key", Text(), "Of a `key` watch"),
        Key("prefix", Text(), "Of a `keyprefix` watch"),
        Key("service", Text(), "Of `service` and `connect_leaf`; of `checks`: those of this service"),
        Key("service_id", Text(), "Of an `agent_service` watch"),
        Key("tag", Texts(), "Of `service`: only instances with all these tags"),
        Key("passingonly", Flag(), "Of `service`: only instances that are healthy", "false"),
        Key("state", Text(), "Of `checks`: those in this state", "any"),
        Key("name", Text(), "Of `event`: those of this name"),
        Key("filter", Text(), "An expression over what is listed"),
        Key("stale", Flag(), "Let any server answer", "false"),
        Key("datacenter", Text(), "The datacenter to ask", "the agent's"),
        Key("token", Text(), "The ACL token to ask with"),
        Key("handler_type", Text(choices=("", "script", "http")), "Run a command, or make a request", '"script"'),
        Key("args", Texts(), "The command to run: it has the JSON on standard input", "[]"),
        Key("handler", Text(), "The command as one line for a shell (older form)"),
        Key("http_handler_config", Block(HTTP_HANDLER), "The request to make", "{}"),
    ),
)
