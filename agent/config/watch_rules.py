"""What makes a watch: the parameters each type takes and needs, and its handler. Called by `assemble` for files and by the
`watch` command for its flags, so that both are refused alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from chowk.agent.config.decode import Decoded
from chowk.agent.config.keys_watch import TYPES
from chowk.agent.config.model import WatchDefinition, WatchRequest
from chowk.agent.config.problems import Problems

_EVERY: Final = frozenset({"datacenter", "token", "stale"})
_TAKES: Final[dict[str, frozenset[str]]] = {
    "key": frozenset({"key"}),
    "keyprefix": frozenset({"prefix"}),
    "services": frozenset({"filter"}),
    "nodes": frozenset({"filter"}),
    "service": frozenset({"service", "tag", "passingonly", "filter"}),
    "checks": frozenset({"service", "state", "filter"}),
    "event": frozenset({"name"}),
    "connect_roots": frozenset(),
    "connect_leaf": frozenset({"service"}),
    "agent_service": frozenset({"service_id"}),
}
_NEEDS: Final = {
    "key": "key", "keyprefix": "prefix", "service": "service", "connect_leaf": "service", "agent_service": "service_id",
}  # fmt: skip
STATES: Final = ("any", "passing", "warning", "critical")
_PARAMETERS: Final = (
    "key",
    "prefix",
    "service",
    "service_id",
    "state",
    "name",
    "filter",
    "datacenter",
    "token",
    "stale",
)
_METHOD_CHARACTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")


def parameter_problem(kind: str, given: dict[str, Any]) -> str:
    """What is wrong with a watch of that type and those parameters, under their keys' names; "" when nothing is."""
    if kind not in TYPES:
        return f'unsupported watch type "{kind}": known are {", ".join(TYPES)}' if kind else "a watch needs a type"
    wrong = sorted(name for name, value in given.items() if value and name not in _TAKES[kind] | _EVERY)
    if wrong:
        return f"a watch of type {kind} takes no {_listed(wrong)}"
    needed = _NEEDS.get(kind, "")
    if needed and not given.get(needed):
        return f"a watch of type {kind} needs one {needed}"
    if kind == "checks" and given.get("service") and given.get("state"):
        return "a checks watch takes service or state, not both"
    if given.get("state") and given["state"] not in STATES:
        return f"state is one of {', '.join(STATES)}"
    return ""


def build_watch(decoded: Decoded, problems: Problems) -> WatchDefinition:
    """The watch of one block of `watches`. Problems are noted; with any, it must not be used."""
    kind = decoded.get("type", "")
    given = {name: decoded.get(name) for name in (*_PARAMETERS, "tag", "passingonly")}
    problem = parameter_problem(kind, given) or _handler_problem(decoded)
    if problem:
        problems.add(decoded.position, f"{decoded.path}: {problem}")
    return WatchDefinition(
        type=kind,
        tags=decoded.get("tag", ()),
        passing_only=decoded.get("passingonly", False),
        args=decoded.get("args", ()),
        shell_line=decoded.get("handler", ""),
        request=_request(decoded.get("http_handler_config")),
        **decoded.pick(**{name: name for name in _PARAMETERS}),
    )


def _handler_problem(decoded: Decoded) -> str:
    """Exactly one handler, of the type that is named."""
    is_http = decoded.get("handler_type") == "http"
    commands = [name for name in ("args", "handler") if decoded.get(name)]
    request: Decoded | None = decoded.get("http_handler_config")
    if is_http:
        if commands:
            return f"a handler of type http takes no {_listed(commands)}"
        return "handler_type is http: http_handler_config is missing" if request is None else _request_problem(request)
    if request is not None:
        return 'http_handler_config needs handler_type = "http"'
    if len(commands) != 1:
        return "give either args or handler, not both" if commands else "must define a watch handler: args = [...]"
    return "args: the command is empty" if decoded.get("args") and not decoded.get("args")[0] else ""


def _request_problem(request: Decoded) -> str:
    url = request.get("path", "")
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        return "http_handler_config.path must be a URL: http://… or https://…"
    if set(request.get("method", "")) - _METHOD_CHARACTERS:
        return "http_handler_config.method is no method"
    for name, values in request.get("header", {}).items():
        if not name or set("\r\n\0: ") & set(name) or any(set("\r\n\0") & set(value) for value in values):
            return f'http_handler_config.header: "{name[:40]}" is no header of one line'
    return ""


def _request(block: Decoded | None) -> WatchRequest | None:
    if block is None:
        return None
    picked = block.pick(timeout_s="timeout", header="header", tls_skip_verify="tls_skip_verify")
    return WatchRequest(url=block.get("path", ""), method=(block.get("method") or "POST").upper(), **picked)


def _listed(names: Iterable[str]) -> str:
    return " and no ".join(names)
