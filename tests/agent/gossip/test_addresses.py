"""What people write to say whom to join."""

from __future__ import annotations

import asyncio

import pytest

from chowk.agent.gossip.addresses import parse_address, resolve, show_address
from chowk.core.errors import InvalidRequest


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.1", ("10.0.0.1", 8301)),
        ("10.0.0.1:99", ("10.0.0.1", 99)),
        (" host.example ", ("host.example", 8301)),
        ("host:1", ("host", 1)),
        ("::1", ("::1", 8301)),
        ("[::1]", ("::1", 8301)),
        ("[fe80::1]:99", ("fe80::1", 99)),
    ],
)
def test_every_usual_form_is_read_and_shown_so_that_it_can_be_read_again(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address
    assert parse_address(show_address(address)) == address


def test_who_is_named_without_a_port_is_asked_at_the_usual_one_of_this_agent() -> None:
    assert [parse_address(text, 9301) for text in ("h", "::1", "h:1")] == [("h", 9301), ("::1", 9301), ("h", 1)]


@pytest.mark.parametrize(
    "text", ["", ":1", "a:b:c", "host:0x1", "host:0", "host:65536", "host:99999999999", "[::1", "[host]:1",
             "[::1]x", "a b", "http://host/", "host:-1", "host:١"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_address(text)


def test_a_name_becomes_all_its_addresses_in_figures() -> None:
    found = asyncio.run(resolve(("localhost", 5)))
    assert found
    assert set(found) <= {("127.0.0.1", 5), ("::1", 5)}
    with pytest.raises(OSError, match=r"."):
        asyncio.run(resolve(("no-such-host.invalid", 5)))


@pytest.mark.parametrize("host", ["..", "a..b", "x" * 64, "a." + "x" * 3000])
def test_what_no_resolver_can_be_asked_is_a_name_without_an_address(host: str) -> None:
    with pytest.raises(OSError, match="no name of a host"):
        asyncio.run(resolve((host, 8301)))
