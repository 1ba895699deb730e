"""The rules of a health check: one kind, an interval, and a target that can work. Called by `definitions`."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from chowk.agent.config.decode import Decoded
from chowk.agent.config.problems import Problems

INTERVAL_MIN_S = 0.1
"""Below this an interval is surely a slip of the unit."""

KINDS = {
    "args": "a script (args)",
    "http": "http",
    "tcp": "tcp",
    "udp": "udp",
    "grpc": "grpc",
    "h2ping": "h2ping",
    "ttl": "ttl",
    "os_service": "os_service",
    "alias_service": "an alias",
    "alias_node": "an alias",
}
_WITHOUT_INTERVAL = {"ttl", "an alias"}
_HOST_PORT = re.compile(r"(\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]/\s]*):\d{1,5}", re.ASCII)
"""Without a host it is this one."""
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def check_problems(check: Decoded, problems: Problems) -> None:
    """Note what is wrong with a decoded check."""
    path = check.path or "check"
    kinds = {words: key for key, words in KINDS.items() if check.get(key)}
    if "script" in check:
        problems.add(check.at("script"), f'{path}.script: write args = ["command", "argument"] instead')
    elif not kinds and check.get("docker_container_id"):
        problems.add(check.position, f"{path}: a docker check needs args")
    elif not kinds:
        known = "args, http, tcp, udp, grpc, h2ping, ttl, os_service, alias_service, alias_node"
        problems.add(check.position, f"{path}: a check must have one of {known}")
    elif len(kinds) > 1:
        where = check.at(list(kinds.values())[1])
        problems.add(where, f"{path}: a check has one kind, but this has {' and '.join(kinds)}")
    if set(kinds) - _WITHOUT_INTERVAL and not check.get("interval"):
        problems.add(
            check.at("interval"), f'{path}: interval is missing: say how often to check, like interval = "10s"'
        )
    if 0 < check.get("interval", 0.0) < INTERVAL_MIN_S:
        problems.add(check.at("interval"), f"{path}.interval: at least {INTERVAL_MIN_S * 1000:g}ms")
    _targets(check, problems, path)
    _thresholds(check, problems, path)


def _targets(check: Decoded, problems: Problems, path: str) -> None:
    url = check.get("http", "")
    if url and not _is_http_url(url):
        problems.add(check.at("http"), f'{path}.http: "{url}" is no URL like http://127.0.0.1:8080/health')
    for key in ("tcp", "udp", "h2ping", "grpc"):
        target = check.get(key, "")
        address = target.partition("/")[0] if key == "grpc" else target
        if target and not _is_host_port(address) and not target.startswith("unix:"):
            problems.add(check.at(key), f'{path}.{key}: "{target}" is no host:port')
    if any(part == "" for part in check.get("args", ())[:1]):
        problems.add(check.at("args"), f"{path}.args: the command is empty")
    if any("\0" in part for part in check.get("args", ())):
        problems.add(check.at("args"), f"{path}.args: an argument cannot hold a NUL character")
    for name, values in check.get("header", {}).items():
        if not _HEADER_NAME.fullmatch(name) or any(set("\r\n\0") & set(value) for value in values):
            problems.add(check.at("header"), f'{path}.header: "{name}" is no header with a value of one line')
    method = check.get("method", "")
    if method and not _HEADER_NAME.fullmatch(method):
        problems.add(check.at("method"), f'{path}.method: "{method}" is no HTTP method')


def _thresholds(check: Decoded, problems: Problems, path: str) -> None:
    warning, critical = check.get("failures_before_warning", 0), check.get("failures_before_critical", 0)
    if warning > critical and "failures_before_critical" in check:
        where = check.at("failures_before_warning")
        problems.add(where, f"{path}: failures_before_warning can't be higher than failures_before_critical")


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    blank = any(character.isspace() or ord(character) < 32 for character in url)
    return parts.scheme in ("http", "https") and bool(parts.hostname or parts.port) and not blank


def _is_host_port(text: str) -> bool:
    return _HOST_PORT.fullmatch(text) is not None and int(text.rpartition(":")[2]) <= 65535
