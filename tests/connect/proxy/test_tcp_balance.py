"""TCP upstreams by their discovery chain, over real sockets: splits, failing over, passive health, limits."""

from __future__ import annotations

import asyncio
from collections import Counter

import msgspec
import uvloop

from chowk.connect.snapshot import (
    Balance,
    Cluster,
    Endpoint,
    HttpRoute,
    Limits,
    Locality,
    Outlier,
    Split,
    Target,
)
from chowk.connect.stats.edges import OUTBOUND
from chowk.core.records.traffic import CallerRate, RateLimits
from support.mesh_rig import until
from support.proxy_rig import App, Rig, free_port, refused, talk


def endpoint(name: str, port: int, **more: object) -> Endpoint:
    return Endpoint(key=name, address="127.0.0.1", port=port, **more)


class ChainRig(Rig):
    """A `web` sidecar whose one upstream is a chain; services as many as a test starts."""

    async def service(self, name: str) -> int:
        """A sidecar with an application that says its name; its public port."""
        app = App(name)
        await app.start()
        port = await self.serve(name)
        snapshot = self.agent.snapshots[f"{name}-proxy"]
        inbound = msgspec.structs.replace(snapshot.inbound, local_port=app.port)
        self.agent.publish(msgspec.structs.replace(snapshot, inbound=inbound))
        await until(lambda: self.proxies[name].state.snapshot.inbound.local_port == app.port, "its application")
        self.apps = [*getattr(self, "apps", []), app]
        return port

    def target(self, name: str, *endpoints: Endpoint) -> Target:
        identity = str(self.ca.identity(name))
        return Target(id=name, service=name, datacenter="dc1", spiffe_id=identity, endpoints=endpoints)

    async def chain(self, targets: list[Target], clusters: list[Cluster], splits: tuple[Split, ...] = ()) -> int:
        """The upstream's local port. The first call starts the sidecar, later ones change its snapshot."""
        if "web" not in self.proxies:
            self.local = await self.use("web", "chain", [])
        before = self.agent.snapshots["web-proxy"]
        upstream = msgspec.structs.replace(
            before.upstreams[0],
            clusters={each.name: each for each in clusters},
            routes=(HttpRoute(name="default", splits=splits or (Split(cluster=clusters[0].name),)),),
        )
        self.agent.publish(
            msgspec.structs.replace(before, upstreams=(upstream,), targets={each.id: each for each in targets})
        )
        version = self.agent.snapshots["web-proxy"].version
        web = self.proxies["web"]
        await until(lambda: web.state.snapshot.version == version, "the snapshot is known")
        await until(lambda: next(iter(web.upstreams.values())).snapshot == upstream, "and followed")
        return self.local

    @property
    def upstream(self):
        return next(iter(self.proxies["web"].upstreams.values()))


async def who(port: int) -> str:
    """The name of the application that answered."""
    return (await talk(port)).split(b":")[0].decode()


def test_connections_are_split_by_weight(tmp_path):
    async def run():
        async with ChainRig(tmp_path) as rig:
            one, two = await rig.service("v1"), await rig.service("v2")
            targets = [rig.target("v1", endpoint("a", one)), rig.target("v2", endpoint("b", two))]
            clusters = [Cluster(name="old", targets=("v1",)), Cluster(name="new", targets=("v2",))]
            port = await rig.chain(
                targets, clusters, (Split(cluster="old", weight=7500), Split(cluster="new", weight=2500))
            )
            found = Counter([await who(port) for _ in range(200)])
            assert 30 <= found["v2"] <= 70, "a fixed seed: 50 are expected"
            await rig.chain(targets, clusters, (Split(cluster="new"), Split(cluster="old", weight=0)))
            assert {await who(port) for _ in range(20)} == {"v2"}

    uvloop.run(run())


def test_a_target_without_instances_fails_over_to_one_with_an_identity_of_its_own_and_back(tmp_path):
    async def run():
        async with ChainRig(tmp_path) as rig:
            main, spare = await rig.service("main"), await rig.service("spare")
            clusters = [Cluster(name="c", targets=("main", "spare"))]
            second = rig.target("spare", endpoint("s", spare))
            port = await rig.chain([rig.target("main"), second], clusters)
            assert await who(port) == "spare"
            await rig.chain([rig.target("main", endpoint("m", main)), second], clusters)
            assert {await who(port) for _ in range(10)} == {"main"}
            await rig.chain([rig.target("main", endpoint("m2", free_port())), second], clusters)
            assert {await who(port) for _ in range(10)} == {"spare"}, (
                "it cannot be dialled: tried once, then passed over"
            )
            assert rig.upstream.dial_failures_total <= 2
            impostor = msgspec.structs.replace(
                second, id="main", service="main", spiffe_id=str(rig.ca.identity("main"))
            )
            await rig.chain([impostor], [Cluster(name="c", targets=("main",))])
            assert await refused(port), "the port answers, but as another service"

    uvloop.run(run())


def test_the_own_zone_is_used_and_others_only_when_it_is_gone_never_a_region_that_is_not_allowed(tmp_path):
    async def run():
        async with ChainRig(tmp_path) as rig:
            near, far, abroad = [await rig.service(name) for name in ("near", "far", "abroad")]
            locality = Locality(region="eu", zone="a", prefer_near=True, allowed_regions=("eu",))
            clusters = [Cluster(name="c", targets=("near", "far", "abroad"), locality=locality)]

            def targets(*names: str) -> list[Target]:
                places = {"near": (near, "eu", "a"), "far": (far, "eu", "b"), "abroad": (abroad, "us", "a")}
                return [
                    rig.target(name, endpoint(name, port, region=region, zone=zone))
                    for name, (port, region, zone) in places.items()
                    if name in names
                ]

            port = await rig.chain(targets("near", "far", "abroad"), clusters)
            assert {await who(port) for _ in range(10)} == {"near"}
            await rig.chain(targets("far", "abroad"), clusters)
            assert {await who(port) for _ in range(10)} == {"far"}
            await rig.chain(targets("abroad"), clusters)
            assert await refused(port)

    uvloop.run(run())


def test_an_instance_whose_application_is_down_is_left_out_after_a_few_early_resets_and_comes_back(tmp_path):
    async def run():
        async with ChainRig(tmp_path) as rig:
            good, broken = await rig.service("good"), await rig.service("broken")
            inbound = rig.agent.snapshots["broken-proxy"].inbound
            down = msgspec.structs.replace(inbound, local_port=free_port())
            rig.agent.publish(msgspec.structs.replace(rig.agent.snapshots["broken-proxy"], inbound=down))
            await until(lambda: rig.proxies["broken"].state.snapshot.inbound == down, "its application is down")
            targets = [rig.target("good", endpoint("g", good)), rig.target("broken", endpoint("b", broken))]
            rules = Outlier(max_failures=3, ejection_s=0.4)
            clusters = [Cluster(name="c", targets=("broken", "good"), outlier=rules)]
            port = await rig.chain(targets, clusters)
            balancer = rig.upstream.clusters.get("c").balancer
            failed = 0
            for _ in range(10):
                failed += await refused(port)
            assert failed == 3
            assert len(balancer.ejected) == 1
            rig.agent.publish(msgspec.structs.replace(rig.agent.snapshots["broken-proxy"], inbound=inbound))
            await until(lambda: rig.proxies["broken"].state.snapshot.inbound == inbound, "its application is back")
            answers = set()

            async def back() -> None:
                while "broken" not in answers:
                    answers.add(await who(port))

            await asyncio.wait_for(back(), 5)
            assert len(balancer.ejected) == 0

    uvloop.run(run())


def test_a_clusters_limit_of_connections_holds_and_frees(tmp_path):
    async def run():
        async with ChainRig(tmp_path) as rig:
            api = await rig.service("api")
            cluster = Cluster(name="c", targets=("api",), limits=Limits(connections_max=2))
            port = await rig.chain([rig.target("api", endpoint("a", api))], [cluster])
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for reader, writer in held:
                writer.write(b"x\n")
                assert await reader.readline() == b"api:x\n"
            assert await refused(port)
            gate = rig.upstream.clusters.get("c").breakers.connections
            assert (gate.inside, gate.refused_total) == (2, 1)
            held[0][1].close()
            await until(lambda: gate.inside == 1, "one left")
            assert await who(port) == "api"
            held[1][1].close()
            await until(lambda: gate.inside == 0, "all left")
            (host,) = rig.upstream.clusters.get("c").balancer.hosts
            assert host.active == 0

    uvloop.run(run())


def test_a_rate_of_connections_is_kept_by_the_called_side_without_being_held_for_broken(tmp_path):
    async def run():
        async with ChainRig(tmp_path) as rig:
            api = await rig.service("api")
            snapshot = rig.agent.snapshots["api-proxy"]
            rates = RateLimits(callers=(CallerRate(name="web", requests_per_second=1, requests_max_burst=4),))
            limited = msgspec.structs.replace(snapshot.inbound, rate_limits=rates)
            rig.agent.publish(msgspec.structs.replace(snapshot, inbound=limited))
            await until(lambda: rig.proxies["api"].state.snapshot.inbound == limited, "the limit is known")
            port = await rig.chain([rig.target("api", endpoint("a", api))], [Cluster(name="c", targets=("api",))])
            answers = [await talk(port) for _ in range(20)]
            assert answers[:4] == [b"api:hello\nend"] * 4
            assert answers.count(b"") >= 14, "ended properly, without a byte"
            assert len(rig.upstream.clusters.get("c").balancer.ejected) == 0
            api_state = rig.proxies["api"].state
            await until(lambda: api_state.connections.inside == 0, "nothing is left of them")

    uvloop.run(run())


def test_turns_are_taken_by_connections_and_a_changed_policy_forgets_no_open_one(tmp_path):
    async def run():
        async with ChainRig(tmp_path) as rig:
            api = await rig.service("api")
            targets = [rig.target("api", *(endpoint(name, api) for name in "abc"))]
            cluster = Cluster(name="c", targets=("api",), balance=Balance(policy="round_robin"))
            port = await rig.chain(targets, [cluster])
            held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(6)]
            for reader, writer in held:
                writer.write(b"x\n")
                assert await reader.readline() == b"api:x\n"
            hosts = list(rig.upstream.clusters.get("c").balancer.hosts)
            assert [host.active for host in hosts] == [2, 2, 2]
            await rig.chain(targets, [msgspec.structs.replace(cluster, balance=Balance(policy="least_request"))])
            assert list(rig.upstream.clusters.get("c").balancer.hosts) == hosts
            for reader, writer in held:
                writer.write(b"y\n")
                assert await reader.readline() == b"api:y\n"
                writer.close()
            await until(lambda: [host.active for host in hosts] == [0, 0, 0], "they ended")

    uvloop.run(run())


def test_connections_are_counted_by_the_service_that_they_went_to_and_those_that_failed(tmp_path):
    async def run():
        async with ChainRig(tmp_path) as rig:
            one = await rig.service("v1")
            clusters = [Cluster(name="c", targets=("v1",))]
            port = await rig.chain([rig.target("v1", endpoint("a", one))], clusters)
            assert [await who(port) for _ in range(3)] == ["v1"] * 3
            await rig.chain([rig.target("v1")], clusters)
            assert await refused(port)
            told = {(each.direction, each.peer): each for each in rig.proxies["web"].state.edges.peer_totals()}
            assert (told[OUTBOUND, "v1"].opened, told[OUTBOUND, "v1"].failed) == (3, 0)
            assert told[OUTBOUND, "chain"].failed == 1, "no instance was found, so it is told of the upstream"

    uvloop.run(run())
