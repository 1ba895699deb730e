"""Which port a sidecar gets: the one it had, else one that nobody uses, on this agent or on this host."""

from __future__ import annotations

import pytest

from chowk.agent.local.sidecar import choose_port
from chowk.core.errors import InvalidRequest

PORTS = range(21000, 21004)


@pytest.mark.parametrize(
    ("remembered", "used", "taken", "port"),
    [
        ({}, (), (), 21000),
        ({}, (21000,), (21001,), 21002),
        ({"gone": 21000}, (), (), 21001),
        ({"gone": 21003}, (21000, 21001, 21002), (), 21003),
        ({"web": 21002}, (), (21002,), 21002),
        ({"web": 21002}, (21002,), (), 21000),
        ({"web": 1}, (), (), 21000),
    ],
)
def test_the_port_chosen(remembered: dict[str, int], used: tuple[int, ...], taken: tuple[int, ...], port: int) -> None:
    assert choose_port(PORTS, remembered, used, "web", lambda each: each in taken) == port


def test_a_range_without_a_free_port_is_named() -> None:
    with pytest.raises(InvalidRequest, match="21000-21003"):
        choose_port(PORTS, {}, (21000,), "web", lambda _port: True)
