"""What may be written as an intention or a config entry, and the words for what may not."""

from __future__ import annotations

from typing import Any

import pytest

from chowk.connect.entries.check import check_entry
from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import (
    AnyConfigEntry,
    HttpPermission,
    Permission,
    ProxyDefaults,
    ServiceDefaults,
    ServiceIntentions,
    SourceIntention,
)
from chowk.core.records.service import Expose, ExposePath, MeshGateway
from chowk.core.records.traffic import HeaderMatch

ALLOWED = SourceIntention(name="web", action="allow")


def towards_db(*sources: SourceIntention, name: str = "db") -> ServiceIntentions:
    return ServiceIntentions(name=name, sources=sources)


def l7(http: HttpPermission, action: str = "allow") -> ServiceIntentions:
    return towards_db(SourceIntention(name="web", permissions=(Permission(action=action, http=http),)))


def header(**given: Any) -> ServiceIntentions:
    return l7(HttpPermission(header=(HeaderMatch(**{"name": "x-a", **given}),)))


GOOD: tuple[AnyConfigEntry, ...] = (
    towards_db(ALLOWED, SourceIntention(name="*", action="deny")),
    towards_db(ALLOWED, name="*"),
    l7(HttpPermission(path_regex="/v[0-9]+/.*", methods=("GET", "PUT"))),
    header(regex="^a|b$"),
    header(present=True, invert=True),
    ServiceDefaults(name="web", protocol="http", local_connect_timeout_ms=500),
    ProxyDefaults(name="global", config={"protocol": "http", "nested": {"a": [1, 2]}}),
)

BAD: tuple[tuple[AnyConfigEntry, str], ...] = (
    (towards_db(), "At least one source is required"),
    (towards_db(ALLOWED, name=""), "Name: is required"),
    (towards_db(ALLOWED, name="d*"), "wildcard character"),
    (towards_db(ALLOWED, ALLOWED), r'Sources\[1\] defines "web" more than once'),
    (towards_db(SourceIntention(name="")), r"Sources\[0\]\.Name is required"),
    (towards_db(SourceIntention(name="a/b", action="allow")), "is no service name"),
    (towards_db(SourceIntention(name="a\nb", action="allow")), "is no service name"),
    (towards_db(SourceIntention(name="web")), "must be set to 'allow' or 'deny'"),
    (towards_db(SourceIntention(name="web", action="ALLOW")), "must be set to 'allow' or 'deny'"),
    (towards_db(SourceIntention(name="web", action="allow", type="spiffe")), "Type must be set to 'consul'"),
    (towards_db(SourceIntention(name="web", action="allow", description="x" * 513)), "maximum length 512"),
    (
        towards_db(
            SourceIntention(
                name="web",
                action="allow",
                permissions=(Permission(action="allow", http=HttpPermission(path_exact="/")),),
            )
        ),
        "must be omitted if Permissions",
    ),
    (l7(HttpPermission()), r"Permissions\[0\]\.HTTP is required"),
    (l7(HttpPermission(path_exact="/"), "maybe"), "must be set to 'allow' or 'deny'"),
    (l7(HttpPermission(path_exact="/a", path_prefix="/b")), "at most one of PathExact"),
    (l7(HttpPermission(path_prefix="b")), "doesn't start with '/'"),
    (l7(HttpPermission(path_regex="(")), "invalid regular expression"),
    (l7(HttpPermission(path_regex="a" * 1025)), "too long"),
    (l7(HttpPermission(path_regex=r"(a)\1")), "back references are not supported"),
    (l7(HttpPermission(path_regex=r"(?=a)b")), "lookaround"),
    (l7(HttpPermission(methods=("GET", "BREW"))), 'invalid method "BREW"'),
    (l7(HttpPermission(methods=("GET", "GET"))), "more than once"),
    (header(name="", exact="x"), "missing required Name"),
    (header(exact="x", prefix="y"), "should set one of"),
    (header(), "should set one of"),
    (ServiceDefaults(name="*"), "use proxy-defaults for all"),
    (ServiceDefaults(name="web", protocol="htpp"), 'invalid value "htpp": use tcp, http'),
    (ServiceDefaults(name="web", max_inbound_connections=-1), "MaxInboundConnections: must be between"),
    (ServiceDefaults(name="web", mesh_gateway=MeshGateway(mode="far")), "use none, local, remote"),
    (ServiceDefaults(name="web", expose=Expose(paths=(ExposePath(path="x"),))), "must begin with '/'"),
    (ServiceDefaults(name="web", meta={str(n): "" for n in range(65)}), "maximum element count 64"),
    (ServiceDefaults(name="web", meta={"k": "v" * 513}), "too long"),
    (ProxyDefaults(name="all"), 'only "global" is supported'),
    (ProxyDefaults(name="global", config={"protocol": "udp"}), 'invalid protocol "udp"'),
    (ProxyDefaults(name="global", config={"many": list(range(5000))}), "holds over 4096 values"),
)


@pytest.mark.parametrize("entry", GOOD, ids=range(len(GOOD)))
def test_what_is_right_is_taken(entry: AnyConfigEntry) -> None:
    check_entry(entry)


@pytest.mark.parametrize(("entry", "words"), BAD, ids=[words[:30] for _, words in BAD])
def test_what_is_wrong_is_refused_with_words_that_teach(entry: AnyConfigEntry, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        check_entry(entry)


def test_permissions_towards_any_service_are_refused() -> None:
    permission = Permission(action="allow", http=HttpPermission(path_exact="/"))
    with pytest.raises(InvalidRequest, match="wildcarded destinations"):
        check_entry(towards_db(SourceIntention(name="web", permissions=(permission,)), name="*"))


def test_a_deeply_nested_config_is_refused_without_recursion() -> None:
    tree: dict[str, Any] = {}
    for _ in range(5000):
        tree = {"a": tree}
    with pytest.raises(InvalidRequest, match="nested over"):
        check_entry(ProxyDefaults(name="global", config=tree))
