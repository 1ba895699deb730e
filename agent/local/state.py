"""The agent's own services and checks: the truth that anti-entropy carries to the catalog.

Filled by `agent.boot` from files (`load`), by `agent.api` (`register_…`), by `agent.checks` (`update_check`). Followed with
`on_change` by `agent.sync`, `agent.checks` and `agent.proxies`. Everything runs on the agent's event loop; no method awaits.
What is registered over the API is durable before the method returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final

import msgspec
import structlog

from chowk.agent.local.entries import (
    API,
    FILE,
    LocalCheck,
    LocalService,
    check_record,
    node_maintenance,
    refuse_wrong,
    service_checks,
    service_maintenance,
    service_record,
)
from chowk.agent.local.health import KeptHealth
from chowk.agent.local.ports import SidecarPortBook
from chowk.agent.local.registrations import Registrations
from chowk.agent.local.sidecar import expand_sidecar, explicit_ports, sidecar_id
from chowk.core.definitions import CheckDefinition, ServiceDefinition
from chowk.core.errors import InternalError, InvalidRequest, NotFound
from chowk.core.limits import CHECKS_MAX as CHECKS_OF_ONE_MAX
from chowk.core.records.check import NODE_MAINTENANCE_ID, SERVICE_MAINTENANCE_PREFIX, STATUSES, is_maintenance
from chowk.core.records.node import Node
from chowk.core.records.service import Locality
from chowk.core.registration_rules import checked_alone
from chowk.core.runtime.clock import Clock

__all__ = ["API", "FILE", "LocalCheck", "LocalService", "LocalState"]
log = structlog.get_logger("chowk.local")

SERVICES_MAX: Final = 10_000
CHECKS_MAX: Final = 50_000
"""What one agent holds; more is refused."""


class LocalState:
    """`registrations` None keeps nothing over a restart (-dev). `sidecar_ports` are given to sidecars that name no port."""

    def __init__(
        self,
        node: Node,
        clock: Clock,
        registrations: Registrations | None,
        sidecar_ports: range,
        is_taken: Callable[[int], bool] = lambda _port: False,
        locality: Locality | None = None,
    ) -> None:
        self.node = node
        self._locality = locality
        self._registrations = registrations
        self._ports = SidecarPortBook(registrations, sidecar_ports, is_taken)
        self._services: dict[str, LocalService] = {}
        self._checks: dict[str, LocalCheck] = {}
        self._checks_by_service: dict[str, dict[str, None]] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._depth = 0
        self._changed = False
        self._loaded = False
        self._reserved: frozenset[int] = frozenset()
        self._health = KeptHealth(registrations, clock)
        self.services: Mapping[str, LocalService] = MappingProxyType(self._services)
        """By service id; a live view."""
        self.checks: Mapping[str, LocalCheck] = MappingProxyType(self._checks)
        """By check id; a live view."""

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back after each change, on the loop, at once; the callback must only note it. Returns what ends that."""
        self._callbacks.append(callback)
        return lambda: self._callbacks.remove(callback) if callback in self._callbacks else None

    def set_node(self, node: Node) -> None:
        """The node's own record changed (its meta, its addresses)."""
        with self._change():
            self._changed = self._changed or node != self.node
            self.node = node

    # --- services

    def register_service(
        self, definition: ServiceDefinition, source: str, *, replace_existing_checks: bool = False
    ) -> None:
        """Add or replace a service, its checks and its sidecar. Checks that it had already keep their health; checks it had
        and that are not in `definition` stay, unless `replace_existing_checks`. InvalidRequest when it cannot be right.
        """
        if not definition.name:
            raise InvalidRequest("Missing service name")
        sidecar = self._expand(definition)
        self._admit(definition, sidecar)
        existing = self._services.get(definition.id or definition.name)
        if source == API:
            if existing is not None and existing.source == FILE:
                log.warning("a service of a file is replaced until the next reload", service=existing.service.id)
            self._keep(lambda kept: kept.save_service(definition))
        with self._change():
            self._place(definition, sidecar, source, replace_existing_checks)

    def deregister_service(self, service_id: str) -> None:
        """Remove a service, its checks and its sidecar. NotFound."""
        if service_id not in self._services:
            raise NotFound(
                f'Unknown service ID "{service_id}". Ensure that the service ID is passed, not the service name.'
            )
        self._keep(lambda kept: kept.remove_service(service_id))
        with self._change():
            self._remove_service(service_id)

    # --- checks

    def checks_of(self, service_id: str) -> list[LocalCheck]:
        """The checks of one service; of "" those of the node."""
        return [self._checks[check_id] for check_id in self._checks_by_service.get(service_id, ())]

    def register_check(self, definition: CheckDefinition, source: str) -> None:
        """Add or replace a check; one that was there keeps its health. InvalidRequest: no name, or no such service."""
        if not definition.id and not definition.name:
            raise InvalidRequest("Missing check name")
        definition = msgspec.structs.replace(
            definition, id=definition.id or definition.name, name=definition.name or definition.id
        )
        self._admit_check(definition)
        if source == API:
            self._keep(lambda kept: kept.save_check(definition))
        with self._change():
            self._place_check(definition, source)

    def deregister_check(self, check_id: str) -> None:
        """Remove a check. NotFound."""
        self._known_check(check_id)
        with self._change():
            self._remove_check(check_id)

    def update_check(self, check_id: str, status: str, output: str) -> None:
        """What a run, or the application itself, found. NotFound; InvalidRequest for a status that is none."""
        entry = self._known_check(check_id)
        if status not in STATUSES:
            raise InvalidRequest(f'Invalid check status: "{status}"')
        self._health.note(entry.definition, status, output)
        if entry.check.status == status and entry.check.output == output and not entry.restored:
            return
        with self._change():
            check = msgspec.structs.replace(entry.check, status=status, output=output)
            self._set_check(msgspec.structs.replace(entry, check=check, restored=False))

    # --- maintenance

    def set_service_maintenance(self, service_id: str, enable: bool, reason: str = "") -> None:
        """Take a service out of service, or back in; nothing happens when it already is. NotFound."""
        if service_id not in self._services:
            raise NotFound(
                f'Unknown service ID "{service_id}". Ensure that the service ID is passed, not the service name.'
            )
        self._set_maintenance(SERVICE_MAINTENANCE_PREFIX + service_id, enable, service_maintenance(service_id, reason))

    def set_node_maintenance(self, enable: bool, reason: str = "") -> None:
        """Take all services of the node out of service, or back in; nothing happens when they already are."""
        self._set_maintenance(NODE_MAINTENANCE_ID, enable, node_maintenance(reason))

    def _set_maintenance(self, check_id: str, enable: bool, definition: CheckDefinition) -> None:
        if enable and check_id not in self._checks:
            self.register_check(definition, API)
            log.info("maintenance mode on", check=check_id, reason=definition.notes)
        elif not enable and check_id in self._checks:
            self.deregister_check(check_id)
            log.info("maintenance mode off", check=check_id)

    # --- files

    def load(self, services: Sequence[ServiceDefinition], checks: Sequence[CheckDefinition]) -> None:
        """Take what the files define now: at start (then what was kept from the API follows) and at each reload.

        A file wins over the API. What is in no file any more goes. Checks that stay keep their health. A definition that
        cannot be registered is logged and passed over.
        """
        with self._change():
            self._reserved = frozenset(explicit_ports(services))
            placed = {definition.id or definition.name for definition in services}
            for service_id in [key for key, entry in self._services.items() if entry.source == FILE]:
                entry = self._services.get(service_id)
                if entry is not None and service_id not in placed and entry.parent not in placed:
                    self._remove_service(service_id)
            for service in services:
                self._load_service(service)
            named = {check.id or check.name for check in checks} | self._defined_checks()
            for check_id in [key for key, entry in self._checks.items() if entry.source == FILE and key not in named]:
                self._remove_check(check_id)
            if not self._loaded:
                self._restore_services()
            for check in checks:
                self._load_check(check)
            if not self._loaded:
                self._restore_checks()
                self._health.settle(entry.definition for entry in self._checks.values())
            self._loaded = True
            self._reserved = frozenset()

    def _load_service(self, definition: ServiceDefinition) -> None:
        service_id = definition.id or definition.name
        existing = self._services.get(service_id)
        if existing is not None and existing.source == API:
            self._shadowed("service", service_id, lambda kept: kept.remove_service(service_id))
        with _passing_over("service", service_id, str(definition.position)):
            self.register_service(definition, FILE)

    def _load_check(self, definition: CheckDefinition) -> None:
        check_id = definition.id or definition.name
        existing = self._checks.get(check_id)
        if existing is not None and existing.source == API:
            self._shadowed("check", check_id, lambda kept: kept.remove_check(check_id))
        with _passing_over("check", check_id, str(definition.position)):
            self.register_check(definition, FILE)

    def _restore_services(self) -> None:
        for service in self._registrations.services() if self._registrations else ():
            service_id = service.id or service.name
            if service_id in self._services:
                self._shadowed("service", service_id, lambda kept, name=service_id: kept.remove_service(name))  # type: ignore[misc]
                continue
            with _passing_over("service", service_id, "kept from the API"):
                sidecar = self._expand(service)
                self._admit(service, sidecar)
                self._place(service, sidecar, API, False)

    def _restore_checks(self) -> None:
        for check in self._registrations.checks() if self._registrations else ():
            existing = self._checks.get(check.id)
            if existing is not None and existing.source == FILE:
                self._shadowed("check", check.id, lambda kept, name=check.id: kept.remove_check(name))  # type: ignore[misc]
            elif check.service_id and check.service_id not in self._services:
                log.warning("a kept check is of a service that is gone; it is forgotten", check=check.id)
                self._keep(lambda kept, name=check.id: kept.remove_check(name))  # type: ignore[misc]
            else:
                with _passing_over("check", check.id, "kept from the API"):
                    self._admit_check(check)
                    self._place_check(check, API)

    def _shadowed(self, what: str, name: str, forget: Callable[[Registrations], None]) -> None:
        log.warning(f"a {what} registered over the API is replaced by the one of a file", id=name)
        self._health.forget(name)
        self._keep(forget)

    def _defined_checks(self) -> set[str]:
        return {
            check.id
            for entry in self._services.values()
            if entry.source == FILE
            for check in service_checks(entry.definition)
        }

    # --- parts

    def _expand(self, definition: ServiceDefinition) -> ServiceDefinition | None:
        name = sidecar_id(definition)
        if not name:
            return None
        used = self._reserved | {entry.service.port for key, entry in self._services.items() if key != name}
        used |= {definition.port}
        asked = definition.connect.sidecar_service if definition.connect else None
        port = asked.port if asked else 0
        port = port or self._ports.choose(name, used)
        return expand_sidecar(definition, port, self.node.address)

    def _admit(self, definition: ServiceDefinition, sidecar: ServiceDefinition | None) -> None:
        wanted = [each for each in (definition, sidecar) if each is not None]
        if len(self._services.keys() | {each.id or each.name for each in wanted}) > SERVICES_MAX:
            raise InvalidRequest(f"this agent has {SERVICES_MAX} services, the most it takes")
        checks = {check.id for each in wanted for check in service_checks(each)}
        if len(self._checks.keys() | checks) > CHECKS_MAX:
            raise InvalidRequest(f"this agent has {CHECKS_MAX} checks, the most it takes")
        for each in wanted:
            refuse_wrong(each, self.node.node)
            self._admit_checks_of(each.id or each.name, {check.id for check in service_checks(each)})

    def _admit_checks_of(self, service_id: str, more: Set[str]) -> None:
        if len(self._checks_by_service.get(service_id, {}).keys() | more) > CHECKS_OF_ONE_MAX:
            raise InvalidRequest(f"a service, and a node by itself, takes at most {CHECKS_OF_ONE_MAX} checks")

    def _admit_check(self, definition: CheckDefinition) -> None:
        if definition.service_id and definition.service_id not in self._services:
            raise InvalidRequest(f'ServiceID "{definition.service_id}" does not exist')
        checked_alone(check_record(definition, self.node.node, None, None))
        self._admit_checks_of(definition.service_id, {definition.id})
        if definition.id not in self._checks and len(self._checks) >= CHECKS_MAX:
            raise InvalidRequest(f"this agent has {CHECKS_MAX} checks, the most it takes")

    def _place(
        self, definition: ServiceDefinition, sidecar: ServiceDefinition | None, source: str, replace: bool
    ) -> None:
        service_id = definition.id or definition.name
        wanted = sidecar.id if sidecar else ""
        for old in [key for key, entry in self._services.items() if entry.parent == service_id and key != wanted]:
            self._remove_service(old)
        self._place_one(definition, source, "", replace)
        if sidecar is not None:
            self._place_one(sidecar, source, service_id, True)
            self._ports.note(sidecar.id, sidecar.port)

    def _place_one(self, definition: ServiceDefinition, source: str, parent: str, replace: bool) -> None:
        service = service_record(definition, self._locality)
        entry = LocalService(definition=definition, service=service, source=source, parent=parent)
        self._changed = self._changed or self._services.get(service.id) != entry
        self._services[service.id] = entry
        checks = service_checks(definition)
        if replace:
            wanted = {check.id for check in checks}
            for old in self.checks_of(service.id):
                if old.definition.id not in wanted and not is_maintenance(old.definition.id):
                    self._remove_check(old.definition.id)
        for check in checks:
            self._place_check(check, source)
        for other in self.checks_of(service.id):
            named = msgspec.structs.replace(other.check, service_name=service.service, service_tags=service.tags)
            self._set_check(msgspec.structs.replace(other, check=named))

    def _place_check(self, definition: CheckDefinition, source: str) -> None:
        owner = self._services.get(definition.service_id) if definition.service_id else None
        before = self._checks.get(definition.id)
        check = check_record(
            definition, self.node.node, owner.service if owner else None, before.check if before else None
        )
        state = self._health.before(definition) if before is None else None
        if state is not None:
            check = msgspec.structs.replace(check, status=state.status, output=state.output)
        restored = state is not None and not definition.ttl_s
        self._set_check(LocalCheck(definition=definition, check=check, source=source, restored=restored))

    def _set_check(self, entry: LocalCheck) -> None:
        self._changed = self._changed or self._checks.get(entry.definition.id) != entry
        before = self._checks.get(entry.definition.id)
        if before is not None and before.definition.service_id != entry.definition.service_id:
            self._checks_by_service[before.definition.service_id].pop(entry.definition.id, None)
        self._checks[entry.definition.id] = entry
        self._checks_by_service.setdefault(entry.definition.service_id, {})[entry.definition.id] = None

    def _remove_service(self, service_id: str) -> None:
        self._changed = True
        self._services.pop(service_id, None)
        for check in self.checks_of(service_id):
            self._remove_check(check.definition.id)
        for sidecar in [key for key, entry in self._services.items() if entry.parent == service_id]:
            self._remove_service(sidecar)

    def _remove_check(self, check_id: str) -> None:
        self._keep(lambda kept: kept.remove_check(check_id))
        self._health.forget(check_id)
        self._changed = True
        entry = self._checks.pop(check_id, None)
        if entry is not None:
            siblings = self._checks_by_service.get(entry.definition.service_id, {})
            siblings.pop(check_id, None)
            if not siblings:
                self._checks_by_service.pop(entry.definition.service_id, None)

    def _known_check(self, check_id: str) -> LocalCheck:
        entry = self._checks.get(check_id)
        if entry is None:
            raise NotFound(f'Unknown check ID "{check_id}". Ensure that the check ID is passed, not the check name.')
        return entry

    def _keep(self, write: Callable[[Registrations], None]) -> None:
        if self._registrations is None:
            return
        try:
            write(self._registrations)
        except OSError as error:
            raise InternalError(f"the registration could not be kept on disk: {error.strerror}") from error

    @contextmanager
    def _change(self) -> Iterator[None]:
        """Several steps, one call of each callback, and none when nothing differs."""
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._ports.save()
            if not self._depth and self._changed:
                self._changed = False
                for callback in list(self._callbacks):
                    callback()


@contextmanager
def _passing_over(what: str, name: str, where: str) -> Iterator[None]:
    try:
        yield
    except (InvalidRequest, InternalError) as error:
        log.error(f"a {what} cannot be registered", id=name, where=where, error=str(error))
