"""The rules between services and checks of one agent: ids are unique, ports are bound once. Called by `assemble`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chowk.agent.config.problems import Problems
from chowk.agent.config.service_rules import listener_of
from chowk.core.definitions import CheckDefinition, Position, ServiceDefinition

SIDECAR_SUFFIX = "-sidecar-proxy"


def set_problems(
    services: Sequence[ServiceDefinition], checks: Sequence[CheckDefinition], problems: Problems, *, scripts: bool
) -> None:
    """Note ids given twice, upstream ports bound twice, and scripts where they are not allowed; both places are named."""
    ids = _Taken("service id", problems)
    check_ids = _Taken("check id", problems)
    listeners = _Taken("upstream address", problems)
    ports = _Taken("sidecar port", problems)
    for service in services:
        service_id = service.id or service.name
        ids.take(service_id, service.position)
        sidecar = service.connect.sidecar_service if service.connect is not None else None
        if sidecar is not None:
            ids.take(sidecar.id or service_id + SIDECAR_SUFFIX, sidecar.position)
            ports.take(f"{sidecar.address}:{sidecar.port}" if sidecar.port else "", sidecar.position)
        for proxy in (service.proxy, sidecar.proxy if sidecar is not None else None):
            # Two upstreams of one proxy are told apart where the proxy is decoded.
            own = {listener_of(upstream) for upstream in proxy.upstreams} if proxy is not None else set()
            for listener in sorted(own):
                listeners.take(listener, service.position)
    for check in (*checks, *_checks_of(services)):
        check_ids.take(check.id, check.position)
        if check.args and not scripts:
            problems.add(
                check.position,
                "scripts are disabled on this agent; to allow them in files, set enable_local_script_checks = true",
            )


class _Taken:
    """Names that may be given once."""

    def __init__(self, what: str, problems: Problems) -> None:
        self._what = what
        self._problems = problems
        self._first: dict[str, Position] = {}

    def take(self, name: str, position: Position) -> None:
        if name and name in self._first:
            self._problems.add(position, f'{self._what} "{name}" is given twice, first at {self._first[name]}')
        self._first.setdefault(name, position)


def _checks_of(services: Sequence[ServiceDefinition]) -> Iterator[CheckDefinition]:
    for service in services:
        yield from service.checks
        if service.connect is not None and service.connect.sidecar_service is not None:
            yield from service.connect.sidecar_service.checks
