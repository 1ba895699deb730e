"""`GET /v1/agent/metrics` as JSON: what Prometheus knows, in the shape that Consul's clients decode."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Histogram

from chowk.agent.api.agent_metrics import as_consul


def test_a_histogram_is_one_sample_for_each_set_of_labels() -> None:
    registry = CollectorRegistry()
    times = Histogram("chowk_wait_seconds", "How long.", ["kind"], registry=registry)
    times.labels("read").observe(1.0)
    times.labels("read").observe(3.0)
    times.labels("write")
    shown = as_consul(list(registry.collect()), "now")
    assert [(each["Labels"], each["Count"], each["Sum"], each["Mean"]) for each in shown["Samples"]] == [
        ({"kind": "read"}, 2, 4.0, 2.0),
        ({"kind": "write"}, 0, 0.0, 0.0),
    ]
    assert {each["Name"] for each in shown["Samples"]} == {"chowk_wait_seconds"}
    assert not shown["Counters"]
    assert not shown["Gauges"]
