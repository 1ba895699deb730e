"""What an agent and its DNS workers tell each other survives the way there."""

from __future__ import annotations

import msgspec

from chowk.agent.workers.orders import Orders, Report, WorkerOptions
from chowk.dns.responder import Stats
from chowk.dns.settings import DnsSettings, RateSettings


def test_options_and_orders_are_read_as_they_were_written() -> None:
    settings = DnsSettings(
        recursors=("127.0.0.1:53",),
        service_ttl_s={"web*": 3.5},
        response_rate_limit=RateSettings(exempt=("10.0.0.0/8",)),
    )
    orders = Orders(servers=("10.0.0.1:8300",), keys=("a2V5",), settings=settings, log_level="warn")
    options = WorkerOptions(udp=(7, 8), tcp=(9,), node_id="id", node_name="n", datacenter="dc1", orders=orders)
    assert msgspec.json.decode(msgspec.json.encode(options), type=WorkerOptions) == options
    assert b"\n" not in msgspec.json.encode(options)


def test_every_counter_is_a_number_that_can_be_added() -> None:
    report = Report(pid=1, serving=True, stats=Stats(queries=3))
    again = msgspec.json.decode(msgspec.json.encode(report), type=Report)
    assert all(isinstance(getattr(again.stats, name), int) for name in Stats.__struct_fields__)
    assert again.stats.queries == 3
