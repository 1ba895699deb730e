"""Routers, splitters and resolvers in a chain: where each leads, and what makes no chain."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from chowk.connect.chain.compile import ChainError, compile_chain
from chowk.connect.chain.entries import ChainEntries
from chowk.core.records.chain import CompiledChain
from chowk.core.records.config_entry import AnyConfigEntry, ProxyDefaults, ServiceDefaults
from chowk.core.records.resolver import (
    FailoverPolicy,
    FailoverTarget,
    ResolverFailover,
    ResolverRedirect,
    ServiceResolver,
    Subset,
)
from chowk.core.records.router import Route, RouteDestination, RouteMatch, ServiceRouter
from chowk.core.records.splitter import ServiceSplitter, Split
from chowk.core.records.traffic import HeaderEdits, HttpMatch, HttpRedirect, Mirror

HTTP = ProxyDefaults(name="global", config={"protocol": "http"})
V12 = ServiceResolver(
    name="web",
    default_subset="v1",
    subsets={"v1": Subset(filter="Service.Meta.version == v1"), "v2": Subset(filter="Service.Meta.version == v2")},
)


def chain(*entries: AnyConfigEntry, service: str = "web") -> CompiledChain:
    return compile_chain(service, "dc1", "t.consul", (HTTP, *entries))


def splitter(name: str, *parts: tuple[float, str, str]) -> ServiceSplitter:
    splits = tuple(Split(weight=weight, service=service, service_subset=subset) for weight, service, subset in parts)
    return ServiceSplitter(name=name, splits=splits)


def router(name: str, *destinations: RouteDestination) -> ServiceRouter:
    routes = tuple(
        Route(match=RouteMatch(http=HttpMatch(path_prefix=f"/{number}")), destination=destination)
        for number, destination in enumerate(destinations)
    )
    return ServiceRouter(name=name, routes=routes)


def redirect(name: str, to: str, **where: str) -> ServiceResolver:
    return ServiceResolver(name=name, redirect=ResolverRedirect(service=to, **where))


def ends(found: CompiledChain) -> dict[str, float]:
    """Weight by resolver of the splitter that it starts at."""
    return {part.next_node: part.weight for part in found.start.splits}


def test_a_default_subset_is_what_the_name_means() -> None:
    found = chain(V12)
    assert found.start_node == "resolver:v1.web.default.default.dc1"
    target = found.targets["v1.web.default.default.dc1"]
    assert (target.service_subset, target.subset.filter) == ("v1", "Service.Meta.version == v1")
    assert target.name == "v1.web.default.dc1.internal.t.consul"
    assert not found.default


def test_a_router_leads_to_splitters_to_subsets_and_in_the_end_to_the_service() -> None:
    found = chain(
        V12,
        router("web", RouteDestination(service="api"), RouteDestination(service_subset="v2")),
        splitter("api", (90.0, "", ""), (10.0, "api2", "")),
    )
    assert found.start_node == "router:web.default.default"
    assert [route.next_node for route in found.start.routes] == [
        "splitter:api.default.default",
        "resolver:v2.web.default.default.dc1",
        "resolver:v1.web.default.default.dc1",
    ]
    last = found.start.routes[-1].definition
    assert last.match is not None
    assert last.match.http == HttpMatch(path_prefix="/")


def test_a_route_that_redirects_leads_nowhere_and_a_mirror_has_a_node_of_its_own() -> None:
    found = chain(
        router(
            "web", RouteDestination(redirect=HttpRedirect(path="/new")), RouteDestination(mirror=Mirror(service="dark"))
        )
    )
    moved, mirrored, _last = found.start.routes
    assert moved.next_node == ""
    assert mirrored.mirror_node == "resolver:dark.default.default.dc1"
    assert mirrored.mirror_node in found.nodes


def test_a_splitter_that_leads_to_another_one_becomes_one() -> None:
    edits = HeaderEdits(set={"x": "outer"})
    outer = ServiceSplitter(
        name="web", splits=(Split(weight=60.0), Split(weight=40.0, service="canary", request_headers=edits))
    )
    found = chain(outer, splitter("canary", (25.0, "", ""), (75.0, "next", "")))
    assert ends(found) == {
        "resolver:web.default.default.dc1": 60.0,
        "resolver:canary.default.default.dc1": 10.0,
        "resolver:next.default.default.dc1": 30.0,
    }
    assert [part.request_edits for part in found.start.splits] == [(), (edits,), (edits,)]


def test_redirects_are_followed_and_their_subset_is_that_of_the_other_service() -> None:
    found = chain(redirect("old", "web", service_subset="v2"), V12, service="old")
    assert found.start_node == "resolver:v2.web.default.default.dc1"
    elsewhere = chain(redirect("old", "web", datacenter="dc2"), service="old")
    assert elsewhere.start_node == "resolver:web.default.default.dc2"


def test_failover_names_targets_in_order_each_once() -> None:
    resolver = ServiceResolver(
        name="web",
        failover={
            "*": ResolverFailover(
                targets=(
                    FailoverTarget(service="backup"),
                    FailoverTarget(datacenter="dc2"),
                    FailoverTarget(service="backup"),
                    FailoverTarget(service="web"),
                ),
                policy=FailoverPolicy(mode="sequential", regions=("eu",)),
            )
        },
    )
    found = chain(resolver).start.resolver
    assert found is not None
    assert found.failover is not None
    assert found.failover.targets == ("backup.default.default.dc1", "web.default.default.dc2")
    assert found.failover.policy.regions == ("eu",)


def test_the_older_form_of_failover_means_the_same() -> None:
    resolver = ServiceResolver(
        name="web", failover={"*": ResolverFailover(service="backup", datacenters=("dc2", "dc3"))}
    )
    found = chain(resolver).start.resolver
    assert found is not None
    assert found.failover is not None
    assert found.failover.targets == ("backup.default.default.dc2", "backup.default.default.dc3")


@pytest.mark.parametrize(
    ("entries", "text"),
    [
        ((redirect("web", "api"), redirect("api", "web")), "circular resolver redirect"),
        ((redirect("web", "a"), redirect("a", "b"), redirect("b", "a")), "circular resolver redirect"),
        ((splitter("web", (100.0, "api", "")), splitter("api", (100.0, "web", ""))), "circular reference"),
        ((splitter("web", (100.0, "", "v9")), V12), 'does not have a subset named "v9"'),
        ((router("web", RouteDestination(service_subset="v9")),), 'does not have a subset named "v9"'),
        ((redirect("web", "api", service_subset="v1"),), 'does not have a subset named "v1"'),
        (
            (ServiceResolver(name="web", failover={"*": ResolverFailover(service_subset="v9")}),),
            'does not have a subset named "v9"',
        ),
        ((ServiceDefaults(name="web", protocol="tcp"), router("web")), "does not permit advanced routing"),
        ((ServiceDefaults(name="web", protocol="tcp"), splitter("web", (100.0, "", ""))), "does not permit advanced"),
        ((ServiceDefaults(name="api", protocol="tcp"), splitter("web", (100.0, "api", ""))), "inconsistent protocols"),
        ((ServiceDefaults(name="api", protocol="grpc"), redirect("web", "api")), "inconsistent protocols"),
        (
            (
                ServiceDefaults(name="api", protocol="tcp"),
                router("web", RouteDestination(mirror=Mirror(service="api"))),
            ),
            "inconsistent protocols",
        ),
    ],
)
def test_what_makes_no_chain_is_told(entries: tuple[AnyConfigEntry, ...], text: str) -> None:
    with pytest.raises(ChainError, match=text):
        chain(*entries)


def test_a_redirect_to_itself_is_no_circle() -> None:
    assert chain(redirect("web", "web")).start_node == "resolver:web.default.default.dc1"


NAMES = ("a", "b", "c", "d", "e")


def random_entries(rng: random.Random) -> list[AnyConfigEntry]:
    """Any entries at all, sensible or not, over a few names."""

    def name() -> str:
        return rng.choice(NAMES)

    def subset() -> str:
        return rng.choice(("", "", "s"))

    entries: list[AnyConfigEntry] = [ProxyDefaults(name="global", config={"protocol": rng.choice(("http", "tcp"))})]
    for each in NAMES:
        if rng.random() < 0.4:
            cuts = sorted([0.0, 100.0, *(round(rng.random() * 100, 2) for _ in range(rng.randrange(3)))])
            entries.append(splitter(each, *((high - low, name(), subset()) for low, high in pairwise(cuts))))
        if rng.random() < 0.4:
            entries.append(router(each, *(RouteDestination(service=name(), service_subset=subset()) for _ in range(2))))
        if rng.random() < 0.4:
            failover = {rng.choice(("*", "s")): ResolverFailover(service=name(), service_subset=subset())}
            to = ResolverRedirect(service=name(), service_subset=subset()) if rng.random() < 0.3 else None
            entries.append(
                ServiceResolver(
                    name=each, subsets={"s": Subset()}, default_subset=subset(), redirect=to, failover=failover
                )
            )
        if rng.random() < 0.1:
            entries.append(ServiceDefaults(name=each, protocol=rng.choice(("http", "tcp", "grpc"))))
    return entries


@pytest.mark.parametrize("seed", range(300))
def test_any_entries_make_a_whole_chain_or_are_refused(seed: int) -> None:
    entries = random_entries(random.Random(seed))
    for service in NAMES:
        try:
            found = compile_chain(service, "dc1", "t.consul", entries)
        except ChainError:
            continue
        assert found == compile_chain(service, "dc1", "t.consul", ChainEntries(entries))
        for node in found.nodes.values():
            following = [route.next_node for route in node.routes] + [part.next_node for part in node.splits]
            assert set(following) <= set(found.nodes)
            if node.splits:
                assert sum(part.weight for part in node.splits) == pytest.approx(100.0, abs=0.1)
                assert all(found.nodes[part.next_node].type == "resolver" for part in node.splits)
            if node.resolver is not None:
                places = (node.resolver.target, *(node.resolver.failover.targets if node.resolver.failover else ()))
                assert set(places) <= set(found.targets)
