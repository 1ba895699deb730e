from __future__ import annotations

import pytest
from msgspec.structs import replace

from chowk.connect.stats.observation import Observers, RequestFilter, RequestRecord, shown

SEEN = RequestRecord(
    at_s=1.0,
    direction="outbound",
    source="web",
    destination="db",
    method="GET",
    path="/orders/7",
    status=503,
    duration_s=0.1,
)


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (RequestFilter(), True),
        (RequestFilter(direction="outbound"), True),
        (RequestFilter(direction="inbound"), False),
        (RequestFilter(peer="web"), True),
        (RequestFilter(peer="db"), True),
        (RequestFilter(peer="cache"), False),
        (RequestFilter(method="GET"), True),
        (RequestFilter(method="PUT"), False),
        (RequestFilter(path_prefix="/orders/"), True),
        (RequestFilter(path_prefix="/admin"), False),
        (RequestFilter(status=5), True),
        (RequestFilter(status=2), False),
        (RequestFilter(method="GET", status=2), False),
    ],
)
def test_a_filter_takes_what_meets_all_it_asks(wanted: RequestFilter, taken: bool) -> None:
    assert wanted.takes(SEEN) is taken


def test_nobody_is_told_until_somebody_looks() -> None:
    observers, seen = Observers(), []
    assert not observers.active
    observers.add(seen.append)
    assert observers.active
    observers.see(SEEN)
    observers.remove(seen.append)
    assert not observers.active
    observers.see(replace(SEEN, status=200))
    assert seen == [SEEN]


def test_what_a_peer_sent_is_shown_without_what_could_fool_a_terminal() -> None:
    assert shown(b"/a\x1b[2J\r\n\xff") == "/a?[2J???"
    assert shown(b"x" * 1000) == "x" * 128
