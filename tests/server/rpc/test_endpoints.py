"""What a server answers over its socket: texts of refusals, freshness, blocking, and that retries apply once."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chowk.core import codec
from chowk.core.commands import (
    AnyCommand,
    Deregister,
    Register,
    SetCARoots,
    SetSystemMetadata,
    UpsertConfigEntry,
)
from chowk.core.errors import InvalidRequest, NoLeader, NoPathToDatacenter, NotFound, TooLarge
from chowk.core.events import CONFIG, HEALTH, INTENTIONS, NODES, ROOTS, SERVICES, StreamFrame, Topic
from chowk.core.methods import METHODS
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import ProxyDefaults, ServiceDefaults
from chowk.core.records.node import Node
from chowk.core.records.service import ConnectProxy, NodeService, ServiceConnect, Upstream, Weights
from chowk.core.requests import (
    CATALOG_ADDRESS,
    CATALOG_DATACENTERS,
    CATALOG_NODE_SERVICES,
    CATALOG_NODES,
    CATALOG_SERVICES,
    CATALOG_WRITE,
    CONFIG_WRITE,
    CONSISTENT,
    HEALTH_INSTANCES,
    HEALTH_NODE_CHECKS,
    HEALTH_SERVICE_CHECKS,
    HEALTH_STATE_CHECKS,
    INTENTION_WRITE,
    RAFT_CONFIGURATION,
    STALE,
    STATUS_LEADER,
    STATUS_STATS,
    SUBSCRIBE,
    AddressQuery,
    Empty,
    InstancesQuery,
    QueryOptions,
    Read,
    ServicesQuery,
    SubscribeRequest,
    Write,
)
from chowk.server.rpc.packed import PackedInstances
from chowk.server.state import queries
from support.server_rig import Rig, running_server

NODE = Node(node="n", address="127.0.0.1")
PROXY = NodeService(
    id="p", service="web-proxy", kind="connect-proxy", port=1, proxy=ConnectProxy(destination_service_name="web")
)


def run(tmp_path: Path, scene: Any, **options: Any) -> None:
    async def whole() -> None:
        async with running_server(tmp_path, **options) as rig:
            await scene(rig)

    asyncio.run(whole())


def with_service(**given: Any) -> Register:
    return Register(node=NODE, service=NodeService(**{"id": "web", "service": "web", **given}))


def with_proxy(**given: Any) -> Register:
    return Register(node=NODE, service=msgspec.structs.replace(PROXY, **given))


def with_upstreams(*upstreams: Upstream) -> Register:
    return with_proxy(proxy=ConnectProxy(destination_service_name="web", upstreams=upstreams))


def nested(depth: int) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for _ in range(depth):
        tree = {"a": tree}
    return tree


DB = Upstream(destination_name="db", local_bind_port=9001)

REFUSED: tuple[tuple[Register | Deregister, str], ...] = (
    (Register(node=Node(node="", address="1.1.1.1")), "Must provide node"),
    (Register(node=Node(node="n", address="")), "Must provide address if SkipNodeUpdate is not set"),
    (Register(node=Node(node="n", address=""), skip_node_update=True), "Missing node registration"),
    (Register(node=Node(node="a/b", address="1.1.1.1")), 'cannot contain "/"'),
    (Register(node=Node(node="n\x00", address="1.1.1.1")), "cannot be printed"),
    (Register(node=Node(node="n", address="0.0.0.0")), "no address that others can dial"),
    (Register(node=Node(node="n", address="1.1.1.1", id="x")), "Bad node ID"),
    (Register(node=Node(node="n", address="1.1.1.1", meta={str(n): "" for n in range(65)})), "more than 64"),
    (Register(node=Node(node="n", address="1.1.1.1", meta={"a b": ""})), "invalid characters"),
    (Register(node=Node(node="n", address="1.1.1.1", meta={"k" * 129: ""})), "Key is too long"),
    (Register(node=Node(node="n", address="1.1.1.1", meta={"": ""})), "Key cannot be blank"),
    (with_service(service=""), "Must provide service name"),
    (with_service(meta={"k": "v" * 513}), "Value is too long"),
    (with_service(port=70_000), "Invalid service port 70000"),
    (with_service(port=-1), "Invalid service port -1"),
    (with_service(address="::"), "Invalid service address"),
    (with_service(tags=("t",) * 4097), "more than 4096 tags"),
    (with_service(tags=("t" * 65_000,) * 3), "tags are too long (limit: 131072 characters together)"),
    (with_service(weights=Weights(passing=0)), "Passing must be between 1"),
    (with_service(kind="ingress-gateway"), "is not supported"),
    (with_service(port=1, socket_path="/x"), "mutually exclusive"),
    (with_proxy(port=0), "Port or SocketPath must be set"),
    (with_proxy(proxy=ConnectProxy()), "DestinationServiceName must be non-empty"),
    (with_proxy(proxy=ConnectProxy(destination_service_name="*")), "must not be a wildcard"),
    (with_proxy(connect=ServiceConnect(native=True)), "cannot also be Connect Native"),
    (with_upstreams(Upstream(destination_name="db")), "must be defined and nonzero"),
    (with_upstreams(Upstream(destination_name="", local_bind_port=1)), "name cannot be empty"),
    (with_upstreams(DB, msgspec.structs.replace(DB, destination_name="x")), "db and x both bind 127.0.0.1:9001"),
    (with_upstreams(DB, DB), "duplicates"),
    (with_proxy(proxy=ConnectProxy(destination_service_name="web", config=nested(40))), "nested over"),
    (with_upstreams(msgspec.structs.replace(DB, config=nested(40))), "nested over"),
    (Register(node=NODE, checks=(HealthCheck(node="n", check_id="c", definition=nested(40)),)), "nested over"),
    (with_service(proxy=ConnectProxy(destination_service_name="db")), "its kind must be connect-proxy"),
    (Register(node=NODE, checks=(HealthCheck(node="n", check_id=""),)), "Must provide check ID or name"),
    (Register(node=NODE, checks=(HealthCheck(node="m", check_id="c"),)), 'is of node "m"'),
    (Register(node=NODE, checks=(HealthCheck(node="n", check_id="c", status="ok"),)), "must be passing"),
    (
        Register(node=NODE, checks=(HealthCheck(node="n", check_id="c", service_id="x"),)),
        "Missing service registration",
    ),
    (Register(node=NODE, checks=(HealthCheck(node="n", check_id="c", output="x" * 65_537),)), "too long"),
    (Deregister(node=""), "Must provide node"),
)


def test_registrations_that_cannot_be_right_are_refused_with_words_that_teach(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        index = rig.machine.store.index
        for command, words in REFUSED:
            with pytest.raises(InvalidRequest) as refusal:
                await rig.write(CATALOG_WRITE, command)
            assert words in str(refusal.value)
        assert rig.machine.store.index == index
        assert not rig.machine.store.nodes

    run(tmp_path, scene)


def test_every_method_of_the_vocabulary_is_served(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        endpoints = rig.server.context.gate.endpoints
        assert {*endpoints.calls, *endpoints.streams} == set(METHODS)

    run(tmp_path, scene)


def test_no_method_takes_commands_of_the_authority_or_of_the_cluster(tmp_path: Path) -> None:
    hostile: tuple[AnyCommand, ...] = (
        SetCARoots(roots=(), cas=0),
        SetSystemMetadata(key="cluster_id", value="mine", only_if_absent=False),
    )

    async def scene(rig: Rig) -> None:
        before = rig.machine.store.trusted()
        for method in (CATALOG_WRITE, INTENTION_WRITE, CONFIG_WRITE):
            for command in hostile:
                with pytest.raises(InvalidRequest, match="does not take"):
                    await rig.write(method, command)
        assert rig.machine.store.trusted() == before

    run(tmp_path, scene)


def test_reads_answer_what_was_written(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        node = Node(node="Host", address="127.0.0.1", id="11111111-1111-1111-1111-111111111111", datacenter="elsewhere")
        web = NodeService(id="w1", service="web", port=80, address="127.0.0.7", tags=("v1",))
        checks = (
            HealthCheck(node="host", check_id="c1", service_id="w1", status="passing"),
            HealthCheck(node="", check_id="", name="disk", status="warning"),
        )
        await rig.write(CATALOG_WRITE, Register(node=node, service=web, checks=checks))
        await rig.write(CATALOG_WRITE, Register(node=node, service=PROXY))
        nodes = (await rig.call(CATALOG_NODES, Read())).nodes
        assert [(each.node, each.datacenter) for each in nodes] == [("Host", "dc1")]
        services = (await rig.call(CATALOG_SERVICES, ServicesQuery())).services
        assert [(each.service, each.tags, each.virtual_ip) for each in services] == [
            ("web", ("v1",), "240.0.0.1"),
            ("web-proxy", (), ""),
        ]
        view = await rig.call(CATALOG_NODE_SERVICES, Read(name="HOST"))
        assert view.node == nodes[0]
        assert [each.id for each in view.services] == ["p", "w1"]
        assert [(each.check_id, each.node, each.service_name) for each in view.checks] == [
            ("c1", "Host", "web"),
            ("disk", "Host", ""),
        ]
        assert (await rig.call(CATALOG_NODE_SERVICES, Read(name="nobody"))).node is None
        mesh = (await rig.call(HEALTH_INSTANCES, InstancesQuery(name="web", connect=True))).instances
        assert [each.service.id for each in mesh] == ["p"]
        instance = (await rig.call(HEALTH_INSTANCES, InstancesQuery(name="web"))).instances[0]
        assert [each.check_id for each in instance.checks] == ["c1", "disk"]
        assert instance.status == "warning"
        assert len((await rig.call(HEALTH_NODE_CHECKS, Read(name="host"))).checks) == 2
        of_service = await rig.call(HEALTH_SERVICE_CHECKS, Read(name="web"))
        assert [each.check_id for each in of_service.checks] == ["c1"]
        assert of_service.nodes == nodes
        assert len((await rig.call(HEALTH_STATE_CHECKS, Read(name="any"))).checks) == 2
        assert [c.check_id for c in (await rig.call(HEALTH_STATE_CHECKS, Read(name="warning"))).checks] == ["disk"]
        at = await rig.call(CATALOG_ADDRESS, AddressQuery(address="127.0.0.7"))
        assert [each.service.id for each in at.instances] == ["w1"]
        assert (await rig.call(CATALOG_ADDRESS, AddressQuery(address="127.0.0.1"))).nodes == nodes
        assert (await rig.call(CATALOG_DATACENTERS, Empty())).datacenters == ("dc1",)
        assert (await rig.call(STATUS_LEADER, Empty())).leader == "127.0.0.1:8300"
        assert (await rig.call(RAFT_CONFIGURATION, Empty())).servers[0].leader
        assert (await rig.call(STATUS_STATS, Empty())).stats["catalog"]["services"] == "2"

    run(tmp_path, scene)


def test_a_second_registration_without_a_difference_changes_no_index(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        await rig.write(CATALOG_WRITE, with_service(port=1))
        before = await rig.call(HEALTH_INSTANCES, InstancesQuery(name="web"))
        await rig.write(CATALOG_WRITE, with_service(port=1))
        assert await rig.call(HEALTH_INSTANCES, InstancesQuery(name="web")) == before

    run(tmp_path, scene)


def test_instances_that_the_caller_still_has_are_not_sent_again_until_they_change(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        await rig.write(CATALOG_WRITE, with_service(port=1))
        first = await rig.call(HEALTH_INSTANCES, InstancesQuery(name="web"))
        known = InstancesQuery(name="web", known_index=first.meta.index, known_history=first.history)
        again = await rig.call(HEALTH_INSTANCES, known)
        assert first.history
        assert (again.unchanged, again.instances, again.meta) == (True, (), first.meta)
        for other in ("", "another history"):
            stranger = await rig.call(HEALTH_INSTANCES, msgspec.structs.replace(known, known_history=other))
            assert stranger == first
        await rig.write(CATALOG_WRITE, with_service(port=2))
        changed = await rig.call(HEALTH_INSTANCES, known)
        assert (changed.unchanged, changed.instances[0].service.port) == (False, 2)
        assert changed.meta.index > first.meta.index

    run(tmp_path, scene)


def test_what_is_kept_packed_is_bounded_and_the_oldest_goes_first(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        await rig.write(CATALOG_WRITE, with_service(port=1))
        store = rig.server.context.machine.store
        index = store.last_changed(queries.health_topic("web"))
        size = len(codec.pack(queries.instances(store, "web", connect=False)))
        packed = PackedInstances(bytes_max=size)
        for _ in range(3):
            assert codec.pack(packed.get(store, "web", index, connect=False)) == codec.pack(
                queries.instances(store, "web", connect=False)
            )
        assert len(packed) == size
        packed.get(store, "web", index + 1, connect=False)
        assert len(packed) == size
        assert packed.get(store, "db", index, connect=False) == ()
        assert len(PackedInstances(bytes_max=size - 1)) == 0

    run(tmp_path, scene)


def test_a_name_held_by_a_living_node_is_not_taken_over(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        first = Node(node="n", address="127.0.0.1", id="11111111-1111-1111-1111-111111111111")
        second = Node(node="N", address="127.0.0.2", id="22222222-2222-2222-2222-222222222222")
        alive = HealthCheck(node="n", check_id="serfHealth", status="passing")
        await rig.write(CATALOG_WRITE, Register(node=first, checks=(alive,)))
        with pytest.raises(InvalidRequest, match="is reserved by node 1111"):
            await rig.write(CATALOG_WRITE, Register(node=second))
        dead = msgspec.structs.replace(alive, status="critical")
        await rig.write(CATALOG_WRITE, Register(node=first, checks=(dead,)))
        await rig.write(CATALOG_WRITE, Register(node=second))
        assert rig.machine.store.nodes["n"].id == second.id

    run(tmp_path, scene)


def test_stale_reads_answer_without_a_leader_and_others_do_not(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        await rig.write(CATALOG_WRITE, with_service())
        await rig.call(CATALOG_NODES, Read())
        barriers = rig.consensus.barriers
        for mode, asked in (("default", 0), (STALE, 0), (CONSISTENT, 1)):
            reply = await rig.call(CATALOG_NODES, Read(options=QueryOptions(consistency=mode)))
            assert reply.meta.consistency == {"default": "leader"}.get(mode, mode)
            barriers += asked
            assert rig.consensus.barriers == barriers
        rig.consensus.lead(False)
        stale = await rig.call(CATALOG_NODES, Read(options=QueryOptions(consistency=STALE)))
        assert (len(stale.nodes), stale.meta.known_leader) == (1, False)
        for mode in ("default", CONSISTENT):
            with pytest.raises(NoLeader):
                await rig.call(CATALOG_NODES, Read(options=QueryOptions(consistency=mode)))
        with pytest.raises(NoLeader):
            await rig.write(CATALOG_WRITE, with_service(port=3))

    run(tmp_path, scene)


def test_who_knows_nothing_is_told_of_the_catalog_without_a_leader_but_not_of_who_may_call_whom(tmp_path: Path) -> None:
    async def first(rig: Rig, kind: str, key: str = "", *, stale: bool) -> StreamFrame:
        request = SubscribeRequest(topic=Topic(kind=kind, key=key), stale=stale)
        async with aclosing(rig.client.stream(SUBSCRIBE, request)) as frames:
            return await anext(frames)

    async def scene(rig: Rig) -> None:
        await rig.write(CATALOG_WRITE, with_service())
        rig.consensus.lead(False)
        for kind, key in ((NODES, ""), (SERVICES, ""), (HEALTH, "web")):
            assert (await first(rig, kind, key, stale=True)).reset
            with pytest.raises(NoLeader):
                await first(rig, kind, key, stale=False)
        for kind in (INTENTIONS, CONFIG, ROOTS):
            with pytest.raises(NoLeader):
                await first(rig, kind, stale=True)

    run(tmp_path, scene)


def test_the_first_read_of_a_leaders_term_waits_for_what_was_acknowledged_before(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        await rig.call(CATALOG_NODES, Read())
        rig.consensus.lead(False)
        rig.consensus.lead(True)
        before = rig.consensus.barriers
        for _ in range(3):
            await rig.call(CATALOG_NODES, Read())
        assert rig.consensus.barriers == before + 1

    run(tmp_path, scene)


def test_options_that_mean_nothing_are_refused(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        with pytest.raises(NoPathToDatacenter):
            await rig.call(CATALOG_NODES, Read(options=QueryOptions(datacenter="dc9")))
        with pytest.raises(InvalidRequest, match="Invalid index"):
            await rig.call(CATALOG_NODES, Read(options=QueryOptions(min_index=-1)))
        with pytest.raises(InvalidRequest, match="Unknown consistency"):
            await rig.call(CATALOG_NODES, Read(options=QueryOptions(consistency="maybe")))
        with pytest.raises(InvalidRequest, match="Missing service name"):
            await rig.call(HEALTH_INSTANCES, InstancesQuery(name=""))
        with pytest.raises(InvalidRequest, match="not an IP address"):
            await rig.call(CATALOG_ADDRESS, AddressQuery(address="web"))
        with pytest.raises(InvalidRequest, match="client id"):
            await rig.call(CATALOG_WRITE, Write(command=with_service(), client="", sequence=1))
        with pytest.raises(InvalidRequest, match="unknown topic"):
            await anext(rig.client.stream(SUBSCRIBE, SubscribeRequest(topic=Topic(kind="secrets"))))

    run(tmp_path, scene)


def test_a_thing_that_is_missing_blocks_until_it_comes(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        first = await rig.call(HEALTH_INSTANCES, InstancesQuery(name="web"))
        assert first.meta.index >= 1
        query = InstancesQuery(name="web", options=QueryOptions(min_index=first.meta.index, max_wait_s=30))
        waiting = asyncio.ensure_future(rig.call(HEALTH_INSTANCES, query, 30.0))
        await rig.call(STATUS_LEADER, Empty())
        assert not waiting.done()
        await rig.write(CATALOG_WRITE, with_service())
        assert len((await waiting).instances) == 1

    run(tmp_path, scene)


def test_a_blocking_query_ends_with_its_wait_and_answers_what_is_there(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        index = (await rig.write(CATALOG_WRITE, with_service())).index
        options = QueryOptions(min_index=index, max_wait_s=0.02)
        reply = await rig.call(HEALTH_INSTANCES, InstancesQuery(name="web", options=options))
        assert (reply.meta.index, len(reply.instances)) == (index, 1)

    run(tmp_path, scene)


def test_an_index_of_a_lost_store_is_answered_at_once_with_a_lower_one(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        options = QueryOptions(min_index=10_000, max_wait_s=60)
        reply = await rig.call(HEALTH_INSTANCES, InstancesQuery(name="web", options=options), 5.0)
        assert reply.meta.index < 10_000

    run(tmp_path, scene)


def test_the_same_write_sent_twice_applies_once(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        entry = UpsertConfigEntry(entry=ServiceDefaults(name="web"), cas=0)
        write = Write(command=entry, client="c", sequence=1)
        first = await rig.call(CONFIG_WRITE, write)
        again = await rig.call(CONFIG_WRITE, write)
        other = await rig.call(CONFIG_WRITE, msgspec.structs.replace(write, sequence=2))
        assert (first.ok, again, other.ok) == (True, first, False)

    run(tmp_path, scene)


def test_a_write_over_the_limit_is_refused_before_it_is_proposed(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        big = ProxyDefaults(name="global", config={"x": "y" * 600_000})
        with pytest.raises(TooLarge, match="over the limit"):
            await rig.write(CONFIG_WRITE, UpsertConfigEntry(entry=big))

    run(tmp_path, scene)


MALFORMED: tuple[Any, ...] = (
    None,
    5,
    "x",
    [],
    {"name": 5},
    {"options": {"min_index": "x"}},
    {"options": {"min_index": 2**63, "max_wait_s": -1.5}},
    {"command": {"t": "register"}, "client": "c", "sequence": 1},
    {"command": {"t": "ca-roots", "roots": [], "cas": 0}, "client": "c", "sequence": 1},
    {"command": {"t": "deregister", "node": "n"}, "client": "c", "sequence": -1},
    {"command": {"t": "deregister", "node": "n"}, "client": "c", "sequence": 2**63},
    {"kind": "x", "topic": {"kind": "health", "key": "k" * 10_000}, "index": -1},
    {"service": "web", "csr_pem": "\x00" * 100},
    {"configuration": {"Config": {"LeafCertTTL": {"a": []}}}, "cas": -1},
    {"configuration": {"Config": {"CSRMaxPerSecond": float("nan")}}},
    {"by": "source", "names": []},
    {"address": "1.1.1.1.1"},
)


def test_malformed_requests_are_the_callers_fault_and_leave_the_server_well(tmp_path: Path) -> None:
    async def scene(rig: Rig) -> None:
        calls = [method for name, method in METHODS.items() if name != SUBSCRIBE.name]
        for body in MALFORMED:
            for method in calls:
                try:
                    await rig.call(method, body)
                except (InvalidRequest, NotFound, NoPathToDatacenter):
                    continue
            with pytest.raises(InvalidRequest):
                await anext(rig.client.stream(SUBSCRIBE, body))
        assert (await rig.call(STATUS_LEADER, Empty())).leader

    run(tmp_path, scene)
