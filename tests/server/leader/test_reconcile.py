"""Membership into the catalog: Consul's rules, nothing written twice, nobody's node removed by mistake."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from chowk.core.commands import Deregister, Envelope, Register
from chowk.core.records.check import HealthCheck
from chowk.core.records.member import ALIVE, FAILED, LEAVING, LEFT, Member
from chowk.core.records.node import Node
from chowk.core.records.service import NodeService
from chowk.server.leader.reconcile import Plan, plan, unknown_nodes
from chowk.server.state.machine import apply
from chowk.server.state.store import Store

ID = "11111111-1111-1111-1111-11111111111{}"


def member(name: str, status: str = ALIVE, number: int = 1, port: int = 0, **more: Any) -> Member:
    tags = {"role": "consul" if port else "node", "dc": "dc1", "id": ID.format(number)}
    if port:
        tags["port"] = str(port)
    more.setdefault("address", f"127.0.0.{number}")
    return Member(name=name, port=8301, status=status, tags={**tags, **more.pop("tags", {})}, **more)


def asked(store: Store, *members: Member, gone: tuple[str, ...] = (), own: str = "me") -> Plan:
    return plan(store, {each.name: each for each in members}, gone, own, "dc1", 1000)


def write(store: Store, *commands: Any) -> None:
    for command in commands:
        apply(store, store.index + 1, Envelope(client="", sequence=0, time_s=0.0, command=command))


def settled(*members: Member, store: Store | None = None, own: str = "me") -> Store:
    store = store or Store()
    write(store, *asked(store, *members, own=own).writes)
    assert asked(store, *members, own=own).writes == ()
    return store


def health(store: Store, name: str) -> tuple[str, str]:
    check = store.checks[(name, "serfHealth")]
    return check.status, check.output


def test_a_live_member_becomes_a_node_with_its_health_and_a_server_the_service_consul() -> None:
    store = settled(member("web1"), member("s1", number=2, port=8300))
    assert (store.nodes["web1"].id, store.nodes["web1"].address) == (ID.format(1), "127.0.0.1")
    assert health(store, "web1") == ("passing", "Agent alive and reachable")
    assert [(row, each.port) for row, each in store.services.items()] == [(("s1", "consul"), 8300)]


def test_a_server_at_another_port_and_a_node_that_is_no_server_any_more_are_put_right() -> None:
    store = settled(member("s1", port=8300))
    settled(member("s1", port=8400), store=store)
    assert store.services[("s1", "consul")].port == 8400
    settled(member("s1"), store=store)
    assert not store.services


def test_the_service_of_a_server_without_a_port_is_nobodys_to_take_away() -> None:
    store = settled(member("s1"))
    write(store, Register(node=store.nodes["s1"], service=NodeService(id="consul", service="consul", port=-1)))
    assert asked(store, member("s1", tags={"role": "consul"})).writes == ()
    assert asked(store, member("s1")).writes == (Deregister(node="s1", service_id="consul"),)


def test_what_an_agent_registered_of_its_node_stays_as_it_is() -> None:
    store = Store()
    rich = Node(id=ID.format(1), node="Web1", address="127.0.0.9", meta={"rack": "a"}, tagged_addresses={"lan": "::1"})
    write(store, Register(node=rich, service=NodeService(id="web", service="web")))
    settled(member("web1"), store=store)
    node = store.nodes["web1"]
    assert (node.node, node.address, node.meta) == ("Web1", "127.0.0.9", {"rack": "a"})
    assert ("web1", "web") in store.services


def test_what_an_agent_says_of_its_node_while_the_leader_writes_it_stays() -> None:
    store = Store()
    planned = asked(store, member("web1")).writes
    rich = Node(id=ID.format(1), node="web1", address="127.0.0.1", meta={"rack": "a"}, tagged_addresses={"lan": "::1"})
    write(store, Register(node=rich), *planned)
    assert (store.nodes["web1"].meta, store.nodes["web1"].tagged_addresses) == ({"rack": "a"}, {"lan": "::1"})
    assert health(store, "web1")[0] == "passing"


def test_a_failed_member_is_critical_until_it_is_alive_again() -> None:
    store = settled(member("web1"))
    settled(member("web1", FAILED), store=store)
    assert health(store, "web1") == ("critical", "Agent not live or unreachable")
    settled(member("web1"), store=store)
    assert health(store, "web1")[0] == "passing"


def test_a_failed_member_that_the_catalog_does_not_know_is_not_added() -> None:
    assert asked(Store(), member("web1", FAILED)).writes == ()


def test_a_member_that_left_or_was_reaped_goes_with_its_services() -> None:
    for gone in (False, True):
        store = settled(member("web1"), member("web2", number=2))
        write(store, Register(node=store.nodes["web1"], service=NodeService(id="web", service="web")))
        members = (member("web2", number=2), *(() if gone else (member("web1", LEFT),)))
        write(store, *asked(store, *members, gone=("WEB1",) if gone else ()).writes)
        assert list(store.nodes) == ["web2"]
        assert not store.services


def test_a_reaped_name_that_is_a_member_again_stays() -> None:
    store = settled(member("web1"))
    assert asked(store, member("web1"), gone=("web1",)).writes == ()


def test_the_leaders_own_node_and_nodes_of_others_than_gossip_are_never_removed() -> None:
    store = settled(member("me"))
    write(store, Register(node=Node(node="router", address="127.0.0.7")))
    left = (member("me", LEFT), member("router", LEFT, number=7))
    assert asked(store, *left).writes == ()
    assert asked(store, gone=("me", "router")).writes == ()
    assert unknown_nodes(store, {}, "me") == frozenset()
    assert unknown_nodes(store, {}, "other") == {"me"}


def test_a_member_that_is_kept_or_leaving_changes_nothing() -> None:
    store = settled(member("web1"))
    settled(member("web1", FAILED), store=store)
    assert asked(store, member("web1", ALIVE, kept=True), member("new", ALIVE, number=2, kept=True)).writes == ()
    assert asked(store, member("web1", LEAVING)).writes == ()


def test_members_of_another_datacenter_are_none_of_ours() -> None:
    assert asked(Store(), member("web1", tags={"dc": "dc2"})).writes == ()


def test_a_name_is_not_taken_from_a_live_node_of_another_host() -> None:
    store = settled(member("web1"))
    thief = member("web1", number=2)
    found = asked(store, thief)
    assert found.writes == ()
    assert found.refused == (f"web1: Node name web1 is reserved by node {ID.format(1)} with name web1 (127.0.0.1)",)
    assert asked(store, member("web1", FAILED, number=2)).writes == ()
    assert asked(store, member("web1", LEFT, number=2)).writes == ()
    settled(member("web1", FAILED), store=store)
    settled(thief, store=store)
    assert (store.nodes["web1"].id, store.nodes["web1"].address) == (ID.format(2), "127.0.0.2")


def test_a_host_set_up_anew_at_its_old_address_keeps_its_name_with_its_new_id() -> None:
    store = settled(member("web1"))
    settled(member("web1", number=2, address="127.0.0.1"), store=store)
    assert store.nodes["web1"].id == ID.format(2)


def test_a_host_with_a_new_name_takes_its_node_with_it() -> None:
    store = settled(member("old"))
    settled(member("new"), member("old", FAILED), store=store)
    assert list(store.nodes) == ["new"]


def test_two_live_hosts_with_one_id_do_not_take_the_node_from_each_other() -> None:
    first, copy = member("web1"), member("web2", address="127.0.0.8")
    store = settled(first)
    found = asked(store, first, copy)
    assert found.writes == ()
    assert "was a data_dir copied?" in found.refused[0]
    assert list(store.nodes) == ["web1"]


def test_what_gossip_carries_is_not_believed_to_be_well_formed() -> None:
    bad = (
        member("a/b"),
        member("x" * 300, number=2),
        member("n", number=3, address="0.0.0.0"),
        member("id", tags={"id": "no uuid"}),
        member("port", number=4, port=8300, tags={"port": "99999"}),
        member("ok", number=5, port=8300, tags={"port": "x"}),
    )
    found = asked(Store(), *bad)
    assert [command.node.node for command in found.writes if isinstance(command, Register)] == ["ok"]
    assert len(found.refused) == 5


members_of_some_cluster = st.lists(
    st.builds(
        member,
        st.sampled_from(("a", "b", "c", "me", "a/b")),
        st.sampled_from((ALIVE, FAILED, LEFT, LEAVING)),
        st.integers(1, 4),
        st.sampled_from((0, 8300, 8400)),
        kept=st.booleans(),
    ),
    max_size=5,
)
catalogs = st.lists(
    st.builds(
        lambda name, number, check: Register(
            node=Node(id=ID.format(number) if number else "", node=name, address=f"127.0.0.{number + 1}"),
            checks=(HealthCheck(node=name, check_id="serfHealth", status=check),) if check else (),
        ),
        st.sampled_from(("a", "b", "c", "me", "x")),
        st.integers(0, 4),
        st.sampled_from(("", "passing", "critical")),
    ),
    max_size=6,
)


@given(members_of_some_cluster, catalogs, st.integers(1, 3))
def test_whatever_is_there_a_few_rounds_put_it_right_and_then_nothing_is_written(
    members: list[Member], catalog: list[Register], writes_max: int
) -> None:
    store = Store()
    write(store, *catalog)
    known = {each.name: each for each in members}
    for _round in range(40):
        found = plan(store, known, (), "me", "dc1", writes_max)
        assert len(found.writes) <= writes_max
        if not found.writes:
            break
        assert Deregister(node="me") not in found.writes
        write(store, *found.writes)
    else:
        raise AssertionError("it goes on and on")
    for each in known.values():
        if each.kept or f"{each.name}: " in "".join(found.refused):
            continue
        if each.status == ALIVE:
            assert health(store, each.name)[0] == "passing"
            assert ((each.name, "consul") in store.services) == each.is_server


def test_a_plan_names_deregistrations_by_the_catalogs_own_spelling() -> None:
    store = settled(member("Web1"))
    assert asked(store, member("web1", LEFT)).writes == (Deregister(node="Web1"),)
