"""User events: what is carried, whom they concern, what is remembered."""

from __future__ import annotations

import asyncio
import random

import pytest
from msgspec import structs

from chowk.agent.gossip.event_log import EVENTS_MAX, EventLog, concerns, decode_event, encode_event, new_event
from chowk.core.errors import InvalidRequest

WEB = (("web", ("v1", "blue")), ("db", ()))


def test_an_event_arrives_as_it_was_fired() -> None:
    event = new_event("deploy", b"\x00\xff", "n.*", "web", "v[12]")
    arrived = decode_event("deploy", encode_event(event), 7)
    assert arrived.time == 7
    assert (arrived.id, arrived.payload, arrived.node_filter, arrived.tag_filter) == (
        event.id,
        b"\x00\xff",
        "n.*",
        "v[12]",
    )


@pytest.mark.parametrize(
    ("node", "service", "tag", "wanted"),
    [("", "", "", True), ("^n1$", "", "", True), ("n2", "", "", False), ("", "web", "", True), ("", "api", "", False),
     ("", "web", "blue", True), ("", "db", "blue", False), ("n2", "web", "blue", False)],
)  # fmt: skip
def test_filters_say_whom_an_event_concerns(node: str, service: str, tag: str, wanted: bool) -> None:
    assert concerns(new_event("x", b"", node, service, tag), "n1", WEB) is wanted


def test_what_makes_no_sense_is_not_fired() -> None:
    for wrong in (
        ("", "", "", ""),
        ("x" * 129, "", "", ""),
        ("a\0b", "", "", ""),
        ("a\nb", "", "", ""),
        ("x", "(", "", ""),
        ("x", "", "", "tag"),
        ("x", "", "web", "["),
    ):
        with pytest.raises(InvalidRequest):
            new_event(wrong[0], b"", *wrong[1:])


def test_garbage_of_another_agent_is_refused_as_a_value_error() -> None:
    rng = random.Random(3)
    good = encode_event(new_event("x", b"payload", "n"))
    for _ in range(2000):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            decode_event("x", bytes(data[: rng.randrange(len(data) + 1)]), 1)
        except ValueError:
            continue
    with pytest.raises(ValueError, match=r"parenthesis|missing"):
        decode_event("x", encode_event(structs.replace(new_event("x", b""), node_filter="(")), 1)


def test_the_log_is_bounded_and_its_index_changes_with_each_event() -> None:
    log = EventLog()
    seen = {log.index()}
    for number in range(EVENTS_MAX + 10):
        log.add(new_event(f"e{number % 2}", b""))
        seen.add(log.index())
    assert len(log.list()) == EVENTS_MAX
    assert len(log.list("e1")) == EVENTS_MAX // 2
    assert len(seen) == EVENTS_MAX + 11
    assert all(0 < index < 2**63 for index in seen)


def test_waiting_ends_with_an_event_of_that_name_or_with_the_time() -> None:
    async def body() -> None:
        log = EventLog()
        waiting = asyncio.create_task(log.wait(log.index("b"), 10, "b"))
        await asyncio.sleep(0)
        log.add(new_event("a", b""))
        await asyncio.sleep(0)
        assert not waiting.done()
        log.add(new_event("b", b""))
        await asyncio.wait_for(waiting, 5)
        await asyncio.wait_for(log.wait(log.index("a"), 0.01, "a"), 5)

    asyncio.run(body())


def test_a_filter_that_is_none_is_told_in_words_and_writes_nothing_into_the_log(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(InvalidRequest, match=r"^Invalid node filter: missing \): \($"):
        new_event("x", b"", "(")
    assert capfd.readouterr().err == ""
