# ruff: noqa: E501 - a table of cases reads best with one case a line
"""Entries beside each other: what a change would break is refused, and what was broken before is in nobody's way."""

from __future__ import annotations

import random
import time
from itertools import pairwise

import pytest

from chowk.connect.chain.validation import Key, affected, changed, refuse_broken
from chowk.core.errors import InvalidRequest
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults
from chowk.core.records.mesh import Mesh
from chowk.core.records.resolver import FailoverTarget, ResolverFailover, ResolverRedirect, ServiceResolver, Subset
from chowk.core.records.router import Route, RouteDestination, ServiceRouter
from chowk.core.records.splitter import ServiceSplitter, Split
from chowk.core.records.traffic import Mirror

V1 = {"v1": Subset()}


def http(*names: str) -> list[AnyConfigEntry]:
    return [ServiceDefaults(name=name, protocol="http") for name in names]


def router(name: str, *to: str, subset: str = "") -> ServiceRouter:
    routes = (Route(destination=RouteDestination(service=each, service_subset=subset)) for each in to)
    return ServiceRouter(name=name, routes=tuple(routes))


def splitter(name: str, *to: str, subset: str = "") -> ServiceSplitter:
    share = 100 / len(to)
    return ServiceSplitter(
        name=name, splits=tuple(Split(weight=share, service=each, service_subset=subset) for each in to)
    )


def redirect(name: str, to: str, subset: str = "") -> ServiceResolver:
    return ServiceResolver(name=name, redirect=ResolverRedirect(service=to, service_subset=subset))


def failover(name: str, *targets: FailoverTarget, **older: str) -> ServiceResolver:
    return ServiceResolver(name=name, failover={"*": ResolverFailover(targets=targets, **older)})  # type: ignore[arg-type]


def keyed(*entries: AnyConfigEntry) -> dict[Key, AnyConfigEntry]:
    return {(entry.kind, entry.name): entry for entry in entries}


def write(stored: list[AnyConfigEntry], *entries: AnyConfigEntry) -> None:
    refuse_broken(keyed(*stored), dict[Key, AnyConfigEntry | None](keyed(*entries)))


def delete(stored: list[AnyConfigEntry], kind: str, name: str) -> None:
    refuse_broken(keyed(*stored), {(kind, name): None})


PERMITTED = "does not permit advanced routing or splitting behavior"
REFUSED = [
    ([], router("web", "api"), f'discovery chain "web" uses a protocol "tcp" that {PERMITTED}'),
    ([], splitter("web", "web", "api"), PERMITTED),
    (http("web"), router("web", "api"), 'discovery chain "web" uses inconsistent protocols; service "api" has "tcp" which is not "http"'),
    (http("web"), ServiceRouter(name="web", routes=(Route(destination=RouteDestination(mirror=Mirror(service="shadow"))),)), 'service "shadow" has "tcp"'),
    (http("web", "api"), router("web", "api", subset="v2"), 'service "api" does not have a subset named "v2"'),
    ([*http("web"), ServiceResolver(name="web", subsets=V1)], splitter("web", "web", subset="v2"), 'service "web" does not have a subset named "v2"'),
    ([*http("a", "b", "c"), splitter("a", "b"), splitter("b", "c")], splitter("c", "a"), r"detected circular reference: \[a -> b -> c -> a\]"),
    ([redirect("a", "b"), redirect("b", "c")], redirect("c", "a"), "detected circular resolver redirect"),
    ([ServiceResolver(name="b", subsets=V1)], redirect("a", "b", "v2"), 'service "b" does not have a subset named "v2"'),
    ([], failover("a", FailoverTarget(service="b", service_subset="v1")), 'service "b" does not have a subset named "v1"'),
    ([], failover("a", service="b", service_subset="v1"), 'service "b" does not have a subset named "v1"'),
    (http("b"), failover("a", FailoverTarget(service="b")), 'service "b" has "http" which is not "tcp"'),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "entry", "words"), REFUSED, ids=range(len(REFUSED)))
def test_an_entry_that_makes_no_chain_is_refused(
    stored: list[AnyConfigEntry], entry: AnyConfigEntry, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        write(stored, entry)


def test_entries_that_stand_only_together_are_taken_together() -> None:
    write([], *http("web", "api"), ServiceResolver(name="api", subsets=V1), router("web", "api", subset="v1"))


WEB = [*http("web", "api"), ServiceResolver(name="api", subsets=V1), router("web", "api", subset="v1")]


def test_what_others_need_is_neither_removed_nor_changed_away() -> None:
    with pytest.raises(InvalidRequest, match='service "api" does not have a subset named "v1"'):
        delete(WEB, "service-resolver", "api")
    with pytest.raises(InvalidRequest, match='does not have a subset named "v1"'):
        write(WEB, ServiceResolver(name="api", subsets={"v2": Subset()}))
    with pytest.raises(InvalidRequest, match="inconsistent protocols"):
        delete(WEB, "service-defaults", "api")
    with pytest.raises(InvalidRequest, match=PERMITTED):
        write(WEB, ServiceDefaults(name="web", protocol="tcp"))
    delete(WEB, "service-router", "web")


def test_the_protocol_of_all_proxies_holds_for_chains_that_say_none() -> None:
    everyone = ProxyDefaults(name="global", config={"protocol": "http"})
    stored: list[AnyConfigEntry] = [everyone, router("web", "api")]
    write([], *stored)
    with pytest.raises(InvalidRequest, match=PERMITTED):
        delete(stored, "proxy-defaults", "global")
    write(stored, ProxyDefaults(name="global", config={"protocol": "http", "x": 1}))


def test_what_is_broken_already_is_in_nobody_s_way() -> None:
    broken: list[AnyConfigEntry] = [router("web", "api"), redirect("a", "b")]
    write(broken, ServiceResolver(name="api", connect_timeout="3s"), Mesh(name="mesh"))
    with pytest.raises(InvalidRequest, match="inconsistent protocols"):
        write(broken, *http("web"))


def test_a_change_touches_every_chain_that_leads_to_it_and_no_other() -> None:
    stored = keyed(*http("web", "api", "db"), router("web", "api"), splitter("api", "db"), redirect("other", "cache"))
    change: dict[Key, AnyConfigEntry | None] = {("service-resolver", "db"): ServiceResolver(name="db")}
    assert affected(stored, changed(stored, change), change) == ("api", "db", "web")
    assert affected(stored, changed(stored, {}), {("mesh", "mesh"): None}) == ()


def test_splitters_that_multiply_are_refused_before_they_are_followed() -> None:
    names = [f"s{number}" for number in range(40)]
    chained = [*http(*names), *(splitter(name, after) for name, after in pairwise(names))]
    with pytest.raises(InvalidRequest, match="over 16 times"):
        write([], *chained)
    wide = [splitter(name, *(f"{name}{n}" for n in range(16))) for name in ("a", *(f"a{n}" for n in range(16)))]
    wide += [splitter(f"a{n}{m}", *(f"z{k}" for k in range(16))) for n in range(16) for m in range(16)]
    started = time.monotonic()
    with pytest.raises(InvalidRequest, match="make over 1024 parts"):
        write([ProxyDefaults(name="global", config={"protocol": "http"})], *wide)
    assert time.monotonic() - started < 5


def test_no_set_of_entries_does_anything_but_stand_or_be_refused() -> None:
    rng = random.Random(5)
    names, outcomes = ("a", "b", "c"), set()
    for _ in range(1500):
        made: list[AnyConfigEntry] = []
        for name in names:
            subset = rng.choice(("", "", "v1"))
            other = rng.choice(names)
            made += rng.sample(
                [
                    *http(name),
                    router(name, other, subset=subset),
                    splitter(name, other, name, subset=subset),
                    redirect(name, other, subset),
                    failover(name, FailoverTarget(service=other, service_subset=subset)),
                    ServiceResolver(name=name, subsets=V1, default_subset=subset),
                ],
                k=rng.randrange(4),
            )
        try:
            write([], *made)
            outcomes.add("")
        except InvalidRequest as error:
            outcomes.add(str(error)[:20])
    assert len(outcomes) >= 4
