"""Real drivers over real sockets: who joins, fails, leaves and comes back, and who is told what."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from chowk.agent.gossip.joining import JoinFailed
from chowk.core.errors import InvalidRequest, NotFound
from chowk.core.records.member import ALIVE, FAILED, LEFT
from support.gossip_cluster import FAST, address, make, node_id, run, running, status, until


def test_three_agents_know_each_other_with_their_tags() -> None:
    async def body() -> None:
        one, two, three = make("n1", tags={"role": "consul", "port": "8300"}), make("n2"), make("n3")
        async with running(one, two, three):
            (seen,) = [each for each in three.members() if each.name == "n1"]
            assert (seen.address, seen.port, seen.id) == ("127.0.0.1", one.port, node_id("n1"))
            assert seen.rpc_address == "127.0.0.1:8300"
            two.set_tag("build", "2")
            await until(three, lambda: any(each.tags.get("build") == "2" for each in three.members()))
            assert two.me.id == node_id("n2")
            with pytest.raises(InvalidRequest):
                two.set_tag("x", "y" * 600)

    run(body)


def test_one_that_is_killed_is_seen_failed_and_one_that_leaves_is_seen_left() -> None:
    async def body() -> None:
        one, two, three = make("n1"), make("n2"), make("n3")
        async with running(one, two, three):
            await three.close()
            await until(one, lambda: status(one, "n3") == FAILED)
            assert status(one, "n2") == ALIVE
            assert await two.leave(5)
            await until(one, lambda: status(one, "n2") == LEFT)
            with pytest.raises(JoinFailed, match="has left"):
                await two.join([address(one)])

    run(body)


def test_one_that_comes_back_at_another_address_is_the_same_member() -> None:
    async def body() -> None:
        one, two, three = make("n1"), make("n2"), make("n3")
        async with running(one, two, three):
            await three.close()
            again = make("n3", retry_join=(address(one),), bind_addr="127.0.0.3", advertise_addr="127.0.0.3")
            async with running(again, joined=False):
                await until(two, lambda: any(each.address == "127.0.0.3" for each in two.members()))
                assert [each.name for each in two.members()] == ["n1", "n2", "n3"]

    run(body)


def test_a_restarted_agent_finds_its_cluster_by_itself(tmp_path: Path) -> None:
    async def body() -> None:
        one, two = make("n1"), make("n2", data_dir=tmp_path)
        async with running(one, two):
            port = two.port
            await two.close()
            again = make("n2", data_dir=tmp_path, port=port)
            async with running(again, joined=False):
                await until(again, lambda: status(again, "n1") == ALIVE)

    run(body)


@pytest.mark.parametrize("rejoin", [False, True])
def test_one_that_left_stays_away_after_a_restart_unless_told_otherwise(tmp_path: Path, rejoin: bool) -> None:
    async def body() -> None:
        one, two = make("n1"), make("n2", data_dir=tmp_path)
        async with running(one, two):
            assert await two.leave(5)
            await two.close()
            await until(one, lambda: status(one, "n2") == LEFT)
            again = make("n2", data_dir=tmp_path, rejoin_after_leave=rejoin)
            async with running(again, joined=False):
                if rejoin:
                    await until(one, lambda: status(one, "n2") == ALIVE)
                else:
                    with pytest.raises(AssertionError):
                        await until(again, lambda: len(again.members()) > 1, 0.5)

    run(body)


def test_retry_join_goes_on_until_somebody_is_there() -> None:
    async def body() -> None:
        one, two = make("n1"), make("n2")
        async with running(one, joined=False):
            port = one.port
        two = make("n2", retry_join=(f"127.0.0.1:{port}", "host.invalid"))
        async with running(two, joined=False), running(make("n1", port=port), joined=False):
            await until(two, lambda: status(two, "n1") == ALIVE)

    run(body)


def test_retry_join_gives_up_after_retry_max_and_says_so() -> None:
    async def body() -> None:
        told: asyncio.Queue[str] = asyncio.Queue()
        two = make("n2", retry_join=("127.0.0.1:1",), retry_interval_s=0.01, retry_max=2)
        two.fatal.add(told.put_nowait)
        async with running(two, joined=False):
            assert "127.0.0.1:1: connection refused" in await asyncio.wait_for(told.get(), 10)

    run(body)


@pytest.mark.parametrize(
    ("stranger", "words"),
    [
        ({"keys": (b"z" * 32,)}, "gossip keys there and here differ"),
        ({"keys": ()}, "gossip there is encrypted, and here it is not"),
        ({"settings": FAST.__class__(datacenter="paris")}, "another datacenter, 'dc1'"),
        ({"name": "n1", "id": node_id("thief")}, "name n1 is that of this agent"),
        ({"id": node_id("n1")}, "node id .* is that of this agent"),
    ],
    ids=["wrong key", "no key", "other datacenter", "stolen name", "copied node id"],
)
def test_a_stranger_that_must_join_does_not_start_and_is_told_why(stranger: dict[str, object], words: str) -> None:
    async def body() -> None:
        one = make("n1")
        async with running(one):
            other = make(**{"name": "n9", **stranger}, start_join=(address(one),))  # type: ignore[arg-type]
            with pytest.raises(JoinFailed, match=rf"start_join.*{words}"):
                await other.start()
            assert [each.name for each in one.members()] == ["n1"]

    run(body)


def test_each_address_that_fails_is_named_with_its_reason() -> None:
    async def body() -> None:
        one = make("n1")
        async with running(one):
            with pytest.raises(JoinFailed) as failed:
                await one.join(["127.0.0.1:1", "no-such-host.invalid"])
            assert "127.0.0.1:1: connection refused" in str(failed.value)
            assert "no-such-host.invalid: the name cannot be resolved" in str(failed.value)
            with pytest.raises(InvalidRequest):
                await one.join(["a:b:c"])

    run(body)


def test_a_failed_member_can_be_made_to_leave_or_forgotten_and_a_live_one_cannot() -> None:
    async def body() -> None:
        one, two, three = make("n1"), make("n2"), make("n3")
        reaped: list[str] = []
        two.reaped.add(reaped.append)
        async with running(one, two, three):
            with pytest.raises(InvalidRequest, match="alive"):
                await one.force_leave("n3", False)
            with pytest.raises(NotFound):
                await one.force_leave("nobody", False)
            with pytest.raises(InvalidRequest, match="chowk leave"):
                await one.force_leave("n1", False)
            await three.close()
            await until(one, lambda: status(one, "n3") == FAILED)
            await one.force_leave("n3", False)
            await until(two, lambda: status(two, "n3") == LEFT)
            await one.force_leave("n3", True)
            await until(two, lambda: status(two, "n3") == "")
            assert reaped == ["n3"]

    run(body)


def test_a_user_event_reaches_those_whom_it_concerns_once() -> None:
    async def body() -> None:
        one, two = make("n1"), make("n2", services=lambda: (("web", ("v1",)),))
        async with running(one, two):
            index = two.events.index()
            fired = await one.fire("deploy", b"1.4.2", service="web")
            await two.events.wait(index, 10)
            assert [(each.id, each.payload) for each in two.events.list()] == [(fired.id, b"1.4.2")]
            assert one.events.list() == []
            await one.fire("all", b"")
            await two.events.wait(two.events.index(), 10)
            assert [each.name for each in two.events.list()] == ["deploy", "all"]
            assert [each.name for each in one.events.list()] == ["all"]
            with pytest.raises(InvalidRequest, match="too long"):
                await one.fire("deploy", bytes(600))

    run(body)


def test_joining_oneself_is_no_failure_but_no_company_either() -> None:
    async def body() -> None:
        one = make("n1", bind_addr="0.0.0.0", advertise_addr="127.0.0.1")
        async with running(one):
            # The second is one of our own addresses that is not told to anybody.
            assert await one.join([f"127.0.0.1:{one.port}", f"127.0.0.7:{one.port}"]) == 1
            with pytest.raises(JoinFailed, match=r"^127\.0\.0\.1:1: connection refused: no agent listens there$"):
                await one.join([f"127.0.0.1:{one.port}", "127.0.0.1:1"])

    run(body)


def test_one_who_left_alone_can_be_closed_and_asks_nothing_of_the_loop() -> None:
    async def body() -> None:
        one = make("n1")
        async with running(one):
            assert await one.leave(5)
            assert status(one, "n1") == LEFT

    run(body)


def test_closing_ends_a_join_that_waits() -> None:
    async def body() -> None:
        async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
            reached.set()

        reached = asyncio.Event()
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        one = make("n1")
        async with running(one):
            joining = asyncio.ensure_future(one.join([f"127.0.0.1:{server.sockets[0].getsockname()[1]}"]))
            await reached.wait()
        with pytest.raises(JoinFailed, match="gossip ends here"):
            await joining
        server.close()

    run(body)


def test_a_copied_data_folder_does_not_become_a_second_member_of_the_same_name() -> None:
    async def body() -> None:
        one, two = make("n1"), make("n2")
        async with running(one, two):
            copy = make("n2", bind_addr="127.0.0.9", advertise_addr="127.0.0.9", start_join=(address(one),))
            with pytest.raises(
                JoinFailed, match=r"name n2 is still alive at 127\.0\.0\.1.*its own node_name and data_dir"
            ):
                await copy.start()
            assert [(each.name, each.address) for each in one.members()] == [("n1", "127.0.0.1"), ("n2", "127.0.0.1")]

    run(body)


def test_one_that_stays_refused_gives_up_and_says_what_to_do() -> None:
    async def body() -> None:
        one = make("n1")
        told: asyncio.Queue[str] = asyncio.Queue()
        async with running(one):
            thief = make("n1", id=node_id("thief"), retry_join=(address(one),), retry_interval_s=0.01)
            thief.fatal.add(told.put_nowait)
            async with running(thief, joined=False):
                assert "give this agent its own node_name" in await asyncio.wait_for(told.get(), 10)
            assert one.me.id == node_id("n1")

    run(body)


def test_a_cluster_lives_on_ipv6_too() -> None:
    async def body() -> None:
        here = {"bind_addr": "::1", "advertise_addr": "::1"}
        one, two = make("n1", **here), make("n2", **here)
        async with running(one, two, joined=False):
            assert await two.join([f"[::1]:{one.port}"]) == 1
            await until(one, lambda: status(one, "n2") == ALIVE)
            await two.close()
            await until(one, lambda: status(one, "n2") == FAILED)

    run(body)
