from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from chowk.agent.local.entries import unplaced
from chowk.agent.local.registrations import Registrations
from chowk.agent.local.sidecar import expand_sidecar
from chowk.agent.local.state import LocalState
from chowk.core.definitions import CheckDefinition, ConnectDefinition, Position, ServiceDefinition
from chowk.core.errors import InternalError, InvalidRequest, NotFound
from chowk.core.records.service import KIND_CONNECT_PROXY, ConnectProxy, Locality, Upstream, Weights
from chowk.core.runtime.clock import ManualClock
from support.local_agent import make_local, meshed

HTTP = CheckDefinition(http="http://127.0.0.1:1/", interval_s=10.0)


def web(**fields: Any) -> ServiceDefinition:
    return ServiceDefinition(**{"name": "web", "port": 80, "checks": (HTTP,), **fields})


def health(local: LocalState) -> dict[str, str]:
    return {key: entry.check.status for key, entry in local.checks.items()}


def test_a_services_checks_have_consuls_ids_and_names_and_begin_critical() -> None:
    local = make_local()
    local.load((web(id="w1"), ServiceDefinition(name="db", checks=(HTTP, CheckDefinition(name="mine", ttl_s=5)))), ())
    assert list(local.checks) == ["service:w1", "service:db:1", "service:db:2"]
    check = local.checks["service:w1"].check
    assert (check.name, check.status, check.type, check.interval) == ("Service 'web' check", "critical", "http", "10s")
    assert (check.service_id, check.service_name, check.node) == ("w1", "web", "n1")
    assert local.checks["service:db:2"].check.name == "mine"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"tags": ("t",) * 4097}, "more than 4096 tags"),
        ({"address": "a b"}, "Invalid service address"),
        ({"address": "0.0.0.0"}, "no address that others can dial"),
        ({"proxy": ConnectProxy(destination_service_name="db")}, "its kind must be connect-proxy"),
        ({"kind": KIND_CONNECT_PROXY}, "DestinationServiceName must be non-empty"),
        ({"checks": (CheckDefinition(name="n" * 513, ttl_s=5),)}, "Check name is too long"),
        ({"checks": (HTTP,) * 257}, "at most 256 checks"),
        ({"meta": {"a b": "c"}}, "invalid characters"),
    ],
)
def test_what_the_servers_would_refuse_for_ever_is_refused_at_once_and_in_a_file_passed_over(wrong, said) -> None:
    local = make_local()
    with pytest.raises(InvalidRequest, match=said):
        local.register_service(web(**wrong), "api")
    local.load((web(**wrong), web(name="db")), ())
    assert list(local.services) == ["db"]


def test_a_check_of_its_own_is_looked_at_too() -> None:
    local = make_local()
    with pytest.raises(InvalidRequest, match="Check name is too long"):
        local.register_check(CheckDefinition(name="n" * 513, ttl_s=5), "api")
    for number in range(256):
        local.register_check(CheckDefinition(name=f"c{number}", ttl_s=5), "api")
    with pytest.raises(InvalidRequest, match="at most 256 checks"):
        local.register_check(CheckDefinition(name="one more", ttl_s=5), "api")
    local.register_check(CheckDefinition(name="c0", ttl_s=6), "api")


def test_a_check_begins_with_the_status_it_is_given() -> None:
    local = make_local()
    local.register_check(CheckDefinition(name="disk", ttl_s=5, status="passing"), "api")
    assert health(local) == {"disk": "passing"}


def test_a_reload_keeps_the_health_of_what_did_not_change_and_tells_nobody() -> None:
    local = make_local()
    local.load((web(), ServiceDefinition(name="old", checks=(HTTP,))), (CheckDefinition(name="disk", ttl_s=5),))
    for check_id in local.checks:
        local.update_check(check_id, "passing", "fine")
    calls: list[int] = []
    local.on_change(lambda: calls.append(1))
    before = dict(local.checks)
    local.load((web(), ServiceDefinition(name="old", checks=(HTTP,))), (CheckDefinition(name="disk", ttl_s=5),))
    assert (dict(local.checks), calls) == (before, [])
    local.load((web(port=81), ServiceDefinition(name="new", checks=(HTTP,))), ())
    assert health(local) == {"service:web": "passing", "service:new": "critical"}
    assert local.services["web"].service.port == 81
    assert len(calls) == 1


def test_a_reload_leaves_what_the_api_registered() -> None:
    local = make_local()
    local.load((web(),), ())
    local.register_service(ServiceDefinition(name="api"), "api")
    local.register_check(CheckDefinition(name="extra", ttl_s=5, service_id="web"), "api")
    local.load((web(checks=()),), ())
    assert (set(local.services), set(local.checks)) == ({"web", "api"}, {"extra"})


def test_a_restarted_agent_still_has_what_the_api_registered(tmp_path: Path) -> None:
    clock = ManualClock()
    local = make_local(Registrations(tmp_path), clock)
    local.load((web(),), ())
    local.register_service(meshed("../../etc/passwd", 5432), "api")
    local.register_check(CheckDefinition(name="beat", ttl_s=30, service_id="web"), "api")
    local.update_check("beat", "passing", "well")
    local.set_service_maintenance("web", True, "upgrade")
    local.set_node_maintenance(True)
    again = make_local(Registrations(tmp_path), clock)
    again.load((web(),), ())
    assert (dict(again.services), dict(again.checks)) == (dict(local.services), dict(local.checks))
    assert {path.parent.name for path in tmp_path.rglob("*.json")} <= {"services", "checks", "state", tmp_path.name}
    again.deregister_service("../../etc/passwd")
    again.set_node_maintenance(False)
    third = make_local(Registrations(tmp_path), clock)
    third.load((), ())
    assert (dict(third.services), dict(third.checks)) == ({}, {}), "a check of a service that is gone goes too"


@pytest.mark.parametrize("passed_s", [31.0, -31.0])
def test_a_ttl_status_older_than_its_ttl_is_not_believed_after_a_restart(tmp_path: Path, passed_s: float) -> None:
    clock = ManualClock()
    local = make_local(Registrations(tmp_path), clock)
    local.load((), ())
    local.register_check(CheckDefinition(name="beat", ttl_s=30), "api")
    local.update_check("beat", "passing", "well")
    clock.jump_wall(passed_s)
    again = make_local(Registrations(tmp_path), clock)
    again.load((), ())
    assert health(again) == {"beat": "critical"}


def test_the_status_of_a_check_that_no_file_defines_any_more_is_forgotten(tmp_path: Path) -> None:
    local = make_local(Registrations(tmp_path))
    local.load((), (CheckDefinition(name="beat", ttl_s=30),))
    local.update_check("beat", "passing", "")
    again = make_local(Registrations(tmp_path))
    again.load((), ())
    assert not Registrations(tmp_path).states()


KILLED = """
import sys
from pathlib import Path
from support.local_agent import make_local
from chowk.agent.local.registrations import Registrations
from chowk.core.definitions import ServiceDefinition
local = make_local(Registrations(Path(sys.argv[1])))
for number in range(100_000):
    local.register_service(ServiceDefinition(name=f"s{number}"), "api")
    print(number, flush=True)
"""


def test_what_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": paths}
    )
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(50)]
    process.kill()
    lines += process.stdout.readlines()
    process.wait()
    acknowledged = {f"s{int(line)}" for line in lines if line.endswith(b"\n")}
    again = make_local(Registrations(tmp_path))
    again.load((), ())
    assert len(acknowledged) >= 50
    assert acknowledged <= set(again.services)


def test_a_file_wins_over_the_api_and_the_api_is_forgotten(tmp_path: Path) -> None:
    local = make_local(Registrations(tmp_path))
    local.load((), ())
    local.register_service(web(port=1), "api")
    local.register_check(CheckDefinition(name="disk", ttl_s=1), "api")
    again = make_local(Registrations(tmp_path))
    again.load((web(port=2),), (CheckDefinition(name="disk", ttl_s=2),))
    assert again.services["web"].service.port == 2
    assert again.checks["disk"].definition.ttl_s == 2
    assert (again.services["web"].source, again.checks["disk"].source) == ("file", "file")
    assert not Registrations(tmp_path).services()
    assert not Registrations(tmp_path).checks()
    local.load((web(port=3),), ())
    assert local.services["web"].source == "file"


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\x00", b"[]", b'{"Name": 7}', b'{"Name": "x", "Checks": [{'])
def test_a_damaged_file_is_set_aside_and_keeps_nothing_else_back(
    tmp_path: Path, damage: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    local = make_local(Registrations(tmp_path))
    local.register_service(ServiceDefinition(name="good"), "api")
    bad = tmp_path / "services" / "bad.json"
    bad.write_bytes(damage)
    (tmp_path / "sidecar-ports.json").write_bytes(damage)
    again = make_local(Registrations(tmp_path))
    again.load((), ())
    assert list(again.services) == ["good"]
    assert not bad.exists()
    assert (tmp_path / "services" / "bad.json.corrupt").read_bytes() == damage
    assert str(bad) in capsys.readouterr().out


def test_a_disk_that_refuses_fails_the_registration_and_changes_nothing(tmp_path: Path) -> None:
    local = make_local(Registrations(tmp_path))
    (tmp_path / "services").rmdir()
    with pytest.raises(InternalError, match="could not be kept on disk"):
        local.register_service(web(), "api")
    assert not local.services
    local.load((web(),), ())
    assert list(local.services) == ["web"]


def test_what_is_not_there_is_named_with_consuls_words() -> None:
    local = make_local()
    service = r'Unknown service ID "x"\. Ensure that the service ID is passed, not the service name\.'
    check = r'Unknown check ID "x"\. Ensure that the check ID is passed, not the check name\.'
    with pytest.raises(NotFound, match=service):
        local.deregister_service("x")
    with pytest.raises(NotFound, match=service):
        local.set_service_maintenance("x", True)
    with pytest.raises(NotFound, match=check):
        local.deregister_check("x")
    with pytest.raises(NotFound, match=check):
        local.update_check("x", "passing", "")
    with pytest.raises(InvalidRequest, match='ServiceID "x" does not exist'):
        local.register_check(CheckDefinition(name="c", service_id="x", ttl_s=1), "api")
    with pytest.raises(InvalidRequest):
        local.register_service(ServiceDefinition(), "api")


def test_registering_again_keeps_other_checks_unless_they_are_to_be_replaced() -> None:
    local = make_local()
    local.register_service(web(), "api")
    local.register_check(CheckDefinition(id="extra", ttl_s=5, service_id="web"), "api")
    local.set_service_maintenance("web", True)
    local.register_service(web(tags=("v2",)), "api")
    assert set(local.checks) == {"service:web", "extra", "_service_maintenance:web"}
    assert local.checks["extra"].check.service_tags == ("v2",)
    local.register_service(web(), "api", replace_existing_checks=True)
    assert set(local.checks) == {"service:web", "_service_maintenance:web"}


def test_maintenance_says_why_in_consuls_words() -> None:
    local = make_local()
    local.load((web(),), ())
    local.set_node_maintenance(True)
    local.set_node_maintenance(True, "again")
    local.set_service_maintenance("web", True, "upgrade")
    node, service = (local.checks[key].check for key in ("_node_maintenance", "_service_maintenance:web"))
    assert (node.name, node.status, node.type) == ("Node Maintenance Mode", "critical", "maintenance")
    assert node.notes.startswith("Maintenance mode is enabled for this node, but no reason was provided.")
    assert (service.name, service.notes, service.service_id) == ("Service Maintenance Mode", "upgrade", "web")
    local.set_node_maintenance(False)
    local.set_node_maintenance(False)
    local.set_service_maintenance("web", False)
    assert list(local.checks) == ["service:web"]


# --- sidecars


def test_a_sidecar_takes_from_its_service_what_it_does_not_say() -> None:
    local = make_local()
    proxy = ConnectProxy(upstreams=(Upstream(destination_name="db", local_bind_port=9001),))
    place, parent = Locality(region="pk"), meshed("web", 8080, ServiceDefinition(proxy=proxy, launch=False))
    fields = {"tags": ("v1",), "meta": {"a": "b"}, "weights": Weights(passing=7), "locality": place}
    local.load((msgspec.structs.replace(parent, **fields),), ())  # type: ignore[arg-type]
    entry = local.services["web-sidecar-proxy"]
    sidecar = entry.service
    assert (sidecar.service, sidecar.kind, sidecar.port) == ("web-sidecar-proxy", KIND_CONNECT_PROXY, 21000)
    assert (sidecar.tags, sidecar.meta, sidecar.weights.passing, sidecar.locality) == (("v1",), {"a": "b"}, 7, place)
    assert (sidecar.proxy.destination_service_name, sidecar.proxy.destination_service_id) == ("web", "web")
    assert (sidecar.proxy.local_service_address, sidecar.proxy.local_service_port) == ("127.0.0.1", 8080)
    assert sidecar.proxy.upstreams == proxy.upstreams
    assert entry.definition.launch is False
    assert entry.parent == "web"
    checks = [each for each in local.checks.values() if each.definition.service_id == "web-sidecar-proxy"]
    assert [(each.check.name, each.definition.tcp, each.definition.alias_service) for each in checks] == [
        ("Connect Sidecar Listening", "127.0.0.1:21000", ""),
        ("Connect Sidecar Aliasing web", "", "web"),
    ]
    assert local.services["web"].service.kind == ""


@pytest.mark.parametrize(
    ("sidecar", "dialled"),
    [
        ({}, "10.0.0.5:21000"),
        ({"address": "10.0.0.9"}, "10.0.0.9:21000"),
        ({"address": "192.0.2.1", "proxy": ConnectProxy(config={"bind_address": "10.0.0.6"})}, "10.0.0.6:21000"),
        ({"proxy": ConnectProxy(config={"bind_address": "0.0.0.0"})}, "127.0.0.1:21000"),
        ({"address": "2001:db8::1"}, "[2001:db8::1]:21000"),
    ],
    ids=["the node's", "its own", "bound elsewhere", "bound everywhere", "IPv6"],
)
def test_the_check_of_a_sidecar_dials_it_where_it_listens(sidecar: dict[str, Any], dialled: str) -> None:
    asked = ConnectDefinition(sidecar_service=ServiceDefinition(**sidecar))
    made = expand_sidecar(web(address="127.0.0.1", connect=asked), 21000, "10.0.0.5")
    assert made is not None
    assert made.checks[0].tcp == dialled


def test_a_sidecar_goes_with_its_service_and_with_its_block() -> None:
    local = make_local()
    local.register_service(meshed("web", 80), "api")
    local.register_service(web(), "api")
    assert list(local.services) == ["web"]
    local.register_service(meshed("web", 80), "api")
    local.deregister_service("web")
    assert not local.services
    assert not local.checks


def test_a_sidecar_keeps_its_port_over_reloads_and_restarts(tmp_path: Path) -> None:
    local = make_local(Registrations(tmp_path))
    local.load((meshed("a"), meshed("b"), meshed("c")), ())
    assert [local.services[f"{name}-sidecar-proxy"].service.port for name in "abc"] == [21000, 21001, 21002]
    local.load((meshed("c"), meshed("z")), ())
    local.load((meshed("c"), meshed("b"), meshed("z")), ())
    again = make_local(Registrations(tmp_path))
    again.load((meshed("z"), meshed("c"), meshed("b"), meshed("a")), ())
    ports = [again.services[f"{name}-sidecar-proxy"].service.port for name in "abcz"]
    assert ports == [21000, 21001, 21002, 21003]


def test_a_port_that_any_service_names_is_given_to_no_sidecar() -> None:
    local = make_local()
    named = ServiceDefinition(name="late", port=21000)
    local.load((meshed("web", 80), meshed("own", 1, ServiceDefinition(port=21001)), named), ())
    assert local.services["web-sidecar-proxy"].service.port == 21002


def test_when_ports_run_out_the_text_says_so_and_old_ports_are_given_again() -> None:
    local = make_local(ports=range(21000, 21002))
    for name in ("a", "b"):
        local.register_service(meshed(name), "api")
    with pytest.raises(InvalidRequest, match=r"none left in the configured sidecar port range \(21000-21001\)"):
        local.register_service(meshed("c"), "api")
    assert "c" not in local.services
    local.deregister_service("a")
    local.register_service(meshed("c"), "api")
    assert local.services["c-sidecar-proxy"].service.port == 21000
    none = make_local(ports=range(0))
    none.load((meshed("a"), web()), ())
    assert list(none.services) == ["web"], "what cannot be registered holds up nothing else"


@pytest.mark.parametrize(
    "sidecar",
    [ServiceDefinition(kind="mesh-gateway"), ServiceDefinition(id="web"), meshed("nested")],
)
def test_a_sidecar_that_cannot_be_is_refused_before_anything_changes(
    sidecar: ServiceDefinition, tmp_path: Path
) -> None:
    local = make_local(Registrations(tmp_path))
    with pytest.raises(InvalidRequest):
        local.register_service(meshed("web", 80, sidecar), "api")
    assert not local.services
    assert not Registrations(tmp_path).services()


def test_any_order_of_changes_leaves_no_orphan_and_survives_a_restart(tmp_path: Path) -> None:
    rng = random.Random(5)
    kept = Registrations(tmp_path)
    local = make_local(kept)
    names = ["a", "b", "c"]
    files: tuple[ServiceDefinition, ...] = ()
    local.load(files, ())
    for _ in range(400):
        name = rng.choice(names)
        step = rng.randrange(6)
        try:
            if step == 0:
                local.register_service(meshed(name, 80), "api")
            elif step == 1:
                local.register_service(web(name=name), "api", replace_existing_checks=rng.random() < 0.5)
            elif step == 2:
                local.deregister_service(rng.choice([name, f"{name}-sidecar-proxy"]))
            elif step == 3:
                local.register_check(CheckDefinition(name="x" + name, ttl_s=9, service_id=name), "api")
            elif step == 4:
                local.set_service_maintenance(name, rng.random() < 0.5)
            else:
                files = tuple(meshed(each, 81) for each in names if rng.random() < 0.3)
                local.load(files, ())
        except (NotFound, InvalidRequest):
            pass
        for entry in local.checks.values():
            assert not entry.definition.service_id or entry.definition.service_id in local.services
        assert all(not entry.parent or entry.parent in local.services for entry in local.services.values())
        ports = [entry.service.port for entry in local.services.values() if entry.parent]
        assert len(ports) == len(set(ports))
    local.load(files, ())
    again = make_local(Registrations(tmp_path))
    again.load(files, ())
    assert {key: entry.source for key, entry in again.services.items() if not entry.parent} == {
        key: entry.source for key, entry in local.services.items() if not entry.parent
    }
    assert {entry.definition.id for entry in again.checks.values() if entry.source == "api"} >= {
        key for key in local.checks if key.startswith("_service_maintenance:")
    }


def test_lines_that_move_are_no_change() -> None:
    here, there = (Position(file="a.hcl", line=line) for line in (1, 9))
    first = meshed("web", 1, ServiceDefinition(position=here))
    second = meshed("web", 1, ServiceDefinition(position=there))
    assert first != second
    assert unplaced(first) == unplaced(second)


def test_a_service_is_where_its_host_is_unless_it_says() -> None:
    here, there = Locality(region="eu-west", zone="a"), Locality(region="us-east", zone="b")
    local = LocalState(make_local().node, ManualClock(), None, range(21000, 21100), locality=here)
    local.load((meshed("web"), web(name="far", locality=there)), ())
    for near in ("web", "web-sidecar-proxy"):
        assert local.services[near].service.locality == here
    assert local.services["far"].service.locality == there
