"""The circuit breakers of one cluster: Consul's `limits { max_connections, max_pending_requests, max_concurrent_requests }`.

Counted doors that refuse at once: who waits for a service that does not keep up only adds to what it does not keep up with.
The limit of requests to one endpoint (`endpoint_requests_max`) is the balancer's, since it chooses another endpoint.
"""

from __future__ import annotations

from chowk.connect.limits.gate import Gate
from chowk.connect.limits.retry_budget import RetryBudget
from chowk.connect.snapshot import Limits


class Breakers:
    """`connections`: open to the cluster. `pending`: requests that wait for a connection. `requests`: in work. `retries`."""

    def __init__(self, limits: Limits) -> None:
        self.connections = Gate(limits.connections_max)
        self.pending = Gate(limits.pending_max)
        self.requests = Gate(limits.requests_max)
        self.retries = RetryBudget(limits.retry_percent, limits.retries_per_s_min)

    def update(self, limits: Limits) -> None:
        """The configuration changed; what is inside stays inside."""
        self.connections.limit = limits.connections_max
        self.pending.limit = limits.pending_max
        self.requests.limit = limits.requests_max
        self.retries.percent = limits.retry_percent
        self.retries.per_s_min = limits.retries_per_s_min
