"""agent.telemetry: names and rules, lines and packets, and a real socket."""

from __future__ import annotations

import asyncio
import socket

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from chowk.agent.config.model import TelemetryConfig
from chowk.agent.telemetry.naming import named
from chowk.agent.telemetry.sender import StatsdSender
from chowk.agent.telemetry.statsd import PACKET_BYTES_MAX, Lines, packets
from chowk.core.runtime.clock import ManualClock


def gauge(name: str, value: float, **labels: str) -> Metric:
    family = GaugeMetricFamily(name, "text", labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def counter(value: float, **labels: str) -> Metric:
    family = CounterMetricFamily("chowk_dns_queries", "text", labels=list(labels))
    family.add_metric(list(labels.values()), value)
    return family


def names(settings: TelemetryConfig, *families: Metric) -> list[str]:
    return [sample.name for family in named(families, settings) for sample in family.samples]


def test_another_prefix_renames_what_is_ours_alone() -> None:
    consul = TelemetryConfig(prefix="consul")
    assert names(consul, gauge("chowk_x", 1), counter(1), gauge("process_open_fds", 1)) == [
        "consul_x",
        "consul_dns_queries_total",
        "process_open_fds",
    ]


def test_the_longest_rule_that_fits_decides() -> None:
    families = (gauge("chowk_dns_cache", 1), counter(1), gauge("chowk_agent_checks", 1))
    rules = ("-chowk.dns", "+chowk.dns.queries")
    assert names(TelemetryConfig(rules=rules), *families) == ["chowk_dns_queries_total", "chowk_agent_checks"]
    assert names(TelemetryConfig(rules=rules, shown=False), *families) == ["chowk_dns_queries_total"]


def test_gauges_are_told_as_they_are_and_counters_by_what_came() -> None:
    lines = Lines()
    assert list(lines.of([gauge("chowk_x", 2.5), gauge("chowk_y", -3, status="pass|ing"), counter(10)])) == [
        "chowk_x:2.5|g",
        "chowk_y.pass_ing:0|g",
        "chowk_y.pass_ing:-3|g",
    ]
    assert list(lines.of([counter(10)])) == []
    assert list(lines.of([counter(17)])) == ["chowk_dns_queries_total:7|c"]
    assert list(lines.of([counter(2)])) == [], "it began anew"
    assert list(lines.of([counter(3)])) == ["chowk_dns_queries_total:1|c"]


def test_labels_are_tags_where_tags_are_known() -> None:
    lines = Lines(("env:prod",))
    assert list(lines.of([gauge("chowk_x", 1, peer="a|b,c#d:e")])) == ["chowk_x:1|g|#env:prod,peer:a_b_c_d_e"]
    assert list(Lines(()).of([gauge("chowk_x", 1)])) == ["chowk_x:1|g"]


def test_buckets_are_not_sent_and_sums_and_counts_are() -> None:
    lines = Lines()
    for count in (1, 3):
        family = HistogramMetricFamily(
            "chowk_lag", "text", buckets=[("0.1", count), ("+Inf", count)], sum_value=count * 2
        )
        told = list(lines.of([family]))
    assert told == ["chowk_lag_count:2|c", "chowk_lag_sum:4|c"]


def test_packets_hold_whole_lines_up_to_their_size() -> None:
    lines = [f"chowk_metric_{number}:1|g" for number in range(500)]
    found = list(packets([*lines, "x" * (PACKET_BYTES_MAX + 1)]))
    assert b"\n".join(found).decode().split("\n") == lines
    assert max(map(len, found)) <= PACKET_BYTES_MAX
    assert len(found) == 1 + sum(len(line) + 1 for line in lines) // PACKET_BYTES_MAX


def test_they_arrive_and_a_statsd_that_is_not_there_is_no_trouble() -> None:
    async def families() -> list[Metric]:
        return [gauge("chowk_x", 1)]

    async def scene() -> bytes:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
            server.bind(("127.0.0.1", 0))
            server.settimeout(5)
            sender = StatsdSender("127.0.0.1", server.getsockname()[1], None, families, ManualClock())
            await sender.send()
            received = server.recv(2000)
        for _ in range(3):
            await sender.send()
        return received

    assert asyncio.run(scene()) == b"chowk_x:1|g"


def test_large_and_small_numbers_have_no_exponents() -> None:
    assert list(Lines().of([gauge("a", 1_795_430_906.25), gauge("b", 0.000281), gauge("c", 0)])) == [
        "a:1795430906.25|g",
        "b:0.000281|g",
        "c:0|g",
    ]
