from __future__ import annotations

import pytest

from chowk.dns.limits import Via, budget, fitting
from chowk.dns.settings import DnsSettings


@pytest.mark.parametrize(
    ("via", "edns", "bytes_max", "entries_max"),
    [
        (Via.UDP_LOCAL, None, 512, 3),
        (Via.UDP_REMOTE, None, 512, 3),
        (Via.UDP_REMOTE, 0, 512, 0),
        (Via.UDP_REMOTE, 1000, 1000, 0),
        (Via.UDP_REMOTE, 65535, 1232, 0),
        (Via.UDP_LOCAL, 4096, 4096, 0),
        (Via.UDP_LOCAL, 65535, 65507, 0),
        (Via.TCP, None, 65535, 0),
        (Via.TCP, 512, 65535, 0),
    ],
)
def test_a_reply_is_as_large_as_the_transport_and_the_client_take(
    via: Via, edns: int | None, bytes_max: int, entries_max: int
) -> None:
    found = budget(via, edns, DnsSettings())
    assert (found.bytes_max, found.entries_max, found.flag_truncation) == (bytes_max, entries_max, False)


def test_truncation_is_flagged_only_over_udp_and_only_when_enabled() -> None:
    settings = DnsSettings(enable_truncate=True)
    assert [budget(via, None, settings).flag_truncation for via in Via] == [True, True, False]


def test_leading_items_fit_until_one_does_not() -> None:
    assert fitting([5, 5, 5], 10) == 2
    assert fitting([11, 1], 10) == 0
    assert fitting(iter(lambda: 3, 4), 10) == 3
