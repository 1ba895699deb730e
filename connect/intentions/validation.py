"""Checks intentions before they are proposed, with Consul's texts where it has them. Pure; called by endpoints.

Every rule raises InvalidRequest naming the place and what would be right.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from chowk.connect.routing.conditions import BadCondition, whole_match
from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import (
    ALLOW,
    DENY,
    HttpPermission,
    Permission,
    ServiceIntentions,
    SourceIntention,
)  # fmt: skip
from chowk.core.records.intention import ANY
from chowk.core.records.traffic import HeaderMatch

NAME_CHARS_MAX: Final = 128
DESCRIPTION_CHARS_MAX: Final = 512
SOURCES_MAX: Final = 1024
PERMISSIONS_MAX: Final = 256
HEADERS_MAX: Final = 64
VALUE_CHARS_MAX: Final = 1024
META_PAIRS_MAX: Final = 64
REGEX_CHARS_MAX: Final = 1024
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS", "TRACE")


def check_name(name: str, place: str) -> None:
    """A service name or the wildcard alone."""
    if not name:
        raise InvalidRequest(f"{place} is required")
    if ANY in name and name != ANY:
        raise InvalidRequest(
            f"{place}: wildcard character '*' cannot appear in partial names: write \"*\" alone for any service"
        )
    if len(name) > NAME_CHARS_MAX or not name.isprintable() or "/" in name:
        raise InvalidRequest(
            f'{place}: {name[:NAME_CHARS_MAX]!r} is no service name (at most {NAME_CHARS_MAX} characters, no "/")'
        )


def check_service_intentions(entry: ServiceIntentions) -> None:
    """All rules of a `service-intentions` entry."""
    check_name(entry.name, "Name")
    if not entry.sources:
        raise InvalidRequest("At least one source is required")
    if len(entry.sources) > SOURCES_MAX:
        raise InvalidRequest(f"an entry takes at most {SOURCES_MAX} sources")
    seen: set[str] = set()
    for number, source in enumerate(entry.sources):
        check_source(source, entry.name, f"Sources[{number}]")
        if source.name in seen:
            raise InvalidRequest(f'Sources[{number}] defines "{source.name}" more than once')
        seen.add(source.name)


def check_source(source: SourceIntention, destination: str, place: str) -> None:
    """All rules of one source towards `destination`; `place` begins its texts."""
    check_name(source.name, f"{place}.Name")
    if source.type not in ("", "consul"):
        raise InvalidRequest(f"{place}.Type must be set to 'consul'")
    if len(source.description) > DESCRIPTION_CHARS_MAX:
        raise InvalidRequest(f"{place}.Description exceeds maximum length {DESCRIPTION_CHARS_MAX}")
    if len(source.legacy_id) > NAME_CHARS_MAX or len(source.legacy_create_time) + len(source.legacy_update_time) > 128:
        raise InvalidRequest(f"{place}: the legacy id or times are too long")
    _check_legacy_meta(source, place)
    if source.permissions:
        if source.action:
            raise InvalidRequest(f"{place}.Action must be omitted if Permissions are specified")
        if destination == ANY:
            raise InvalidRequest(f"{place}.Permissions cannot be specified on intentions with wildcarded destinations")
        if len(source.permissions) > PERMISSIONS_MAX:
            raise InvalidRequest(f"{place}: at most {PERMISSIONS_MAX} permissions")
        for number, permission in enumerate(source.permissions):
            _check_permission(permission, f"{place}.Permissions[{number}]")
    elif source.action not in (ALLOW, DENY):
        raise InvalidRequest(f"{place}.Action must be set to 'allow' or 'deny'")


def _check_legacy_meta(source: SourceIntention, place: str) -> None:
    if len(source.legacy_meta) > META_PAIRS_MAX:
        raise InvalidRequest(f"{place}.LegacyMeta exceeds maximum element count {META_PAIRS_MAX}")
    for key, value in source.legacy_meta.items():
        if len(key) > NAME_CHARS_MAX or len(value) > DESCRIPTION_CHARS_MAX:
            raise InvalidRequest(
                f"{place}.LegacyMeta: keys have at most {NAME_CHARS_MAX} characters, values {DESCRIPTION_CHARS_MAX}"
            )


def _check_permission(permission: Permission, place: str) -> None:
    if permission.action not in (ALLOW, DENY):
        raise InvalidRequest(f"{place}.Action must be set to 'allow' or 'deny'")
    http = permission.http
    if http == HttpPermission():
        raise InvalidRequest(f"{place}.HTTP is required: say a path, a header or methods")
    if sum(map(bool, (http.path_exact, http.path_prefix, http.path_regex))) > 1:
        raise InvalidRequest(f"{place}.HTTP should set at most one of PathExact, PathPrefix, or PathRegex.")
    for name, path in (("PathExact", http.path_exact), ("PathPrefix", http.path_prefix)):
        if path and not path.startswith("/"):
            raise InvalidRequest(f"{place}.HTTP.{name} doesn't start with '/': {path!r}")
        _check_value(path, f"{place}.HTTP.{name}")
    _check_regex(http.path_regex, f"{place}.HTTP.PathRegex")
    if len(http.header) > HEADERS_MAX:
        raise InvalidRequest(f"{place}.HTTP: at most {HEADERS_MAX} headers")
    for number, header in enumerate(http.header):
        _check_header(header, f"{place}.HTTP.Header[{number}]")
    _check_methods(http.methods, f"{place}.HTTP.Methods")


def _check_header(header: HeaderMatch, place: str) -> None:
    if not header.name:
        raise InvalidRequest(f"{place} missing required Name field")
    _check_value(header.name, f"{place}.Name")
    given = (header.present, header.exact, header.prefix, header.suffix, header.contains, header.regex)
    if sum(map(bool, given)) != 1:
        raise InvalidRequest(f"{place} should set one of Exact, Prefix, Suffix, Contains, Regex, or Present.")
    for text in (header.exact, header.prefix, header.suffix, header.contains):
        _check_value(text, place)
    _check_regex(header.regex, f"{place}.Regex")


def _check_methods(methods: Iterable[str], place: str) -> None:
    seen: set[str] = set()
    for method in methods:
        if method not in METHODS:
            raise InvalidRequest(f'{place} contains an invalid method "{method}": use {", ".join(METHODS)}')
        if method in seen:
            raise InvalidRequest(f'{place} contains "{method}" more than once')
        seen.add(method)


def _check_value(text: str, place: str) -> None:
    if len(text) > VALUE_CHARS_MAX:
        raise InvalidRequest(f"{place} is too long (limit: {VALUE_CHARS_MAX} characters)")


def _check_regex(pattern: str, place: str) -> None:
    if pattern and (fault := regex_fault(pattern)):
        raise InvalidRequest(f"{place} {fault}")


def regex_fault(pattern: str) -> str:
    """Why proxies could not use this expression, "" when they can: RE2's language, bounded in length and memory."""
    if len(pattern) > REGEX_CHARS_MAX:
        return f"is too long (limit: {REGEX_CHARS_MAX} characters)"
    try:
        whole_match(pattern)
    except BadCondition as error:
        return (
            f"is an invalid regular expression: {_words(error.__cause__)}. Expressions are RE2's: lookaround and back "
            "references are not supported, and one may need no more than 1 MB"
        )
    return ""


def _words(cause: BaseException | None) -> str:
    """What RE2 says: its errors hold bytes."""
    said = cause.args[0] if cause is not None and cause.args else ""
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said or cause)
