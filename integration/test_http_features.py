"""What config entries promise for HTTP, with a real agent and sidecars: written as users write it, and seen by requests."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.agent import AgentProcess
from harness.hostile import END, Backend, Client, Stream, ask, caller, header_of, inside, public_port
from harness.sidecars import free_range
from harness.waiting import eventually

SERVICES = ("web", "shop", "basket", "standby", "orders", "raw")
UPSTREAMS = ("shop", "basket", "orders", "raw")
PLACES = {"basket-1": ("eu-west", "a"), "basket-2": ("eu-west", "b"), "basket-3": ("eu-central", "a")}


class Mesh:
    """`web` calls UPSTREAMS, each by a port of its own. `basket` has three instances, the third of them of version v2.

    `shop`, `basket`, `standby` and `orders` speak HTTP. All are in the region eu-west, but for what PLACES says.
    """

    def __init__(self, folder: Path) -> None:
        self.apps = {name: Backend(name) for name in (*SERVICES[:2], *PLACES, *SERVICES[3:])}
        first = free_range(24)
        self.ports = {name: first + 16 + number for number, name in enumerate(UPSTREAMS)}
        self.agent = AgentProcess(folder, self._hcl(first))

    def _hcl(self, first: int) -> str:
        upstreams = ", ".join(f'{{ destination_name = "{n}", local_bind_port = {p} }}' for n, p in self.ports.items())
        services = [
            f'''services {{
              name = "{name.partition("-")[0]}", id = "{name}", port = {app.port}
              meta {{ version = "{"v2" if name == "basket-3" else "v1"}" }}
              {self._locality(name)}
              check {{ id = "{name}-up", http = "http://127.0.0.1:{app.port}/health", interval = "200ms", timeout = "5s" }}
              connect {{ sidecar_service {{ {f"proxy {{ upstreams = [ {upstreams} ] }}" if name == "web" else ""} }} }}
            }}'''
            for name, app in self.apps.items()
        ]
        http = ", ".join(
            f'{{ kind = "service-defaults", name = "{name}", protocol = "http" }}' for name in SERVICES[1:5]
        )
        return f"""
        ports {{ sidecar_min_port = {first}, sidecar_max_port = {first + 15} }}
        locality {{ region = "eu-west", zone = "a" }}
        config_entries {{ bootstrap = [ {http} ] }}
        {"".join(services)}
        """

    @staticmethod
    def _locality(name: str) -> str:
        region, zone = PLACES.get(name, ("", ""))
        return f'locality {{ region = "{region}", zone = "{zone}" }}' if region else ""

    def __enter__(self) -> Mesh:
        for app in self.apps.values():
            app.__enter__()
        self.agent.__enter__()
        for name in UPSTREAMS[:3]:
            eventually(lambda name=name: self.get(name).status == 200, f"{name}\n{self.agent.log()}", 30)
        return self

    def __exit__(self, *error: Any) -> None:
        self.agent.__exit__(*error)
        for app in self.apps.values():
            app.__exit__()

    def get(self, upstream: str, target: str = "/", **more: Any) -> Any:
        return ask(self.ports[upstream], target, **more)

    def write(self, kind: str, name: str, **fields: Any) -> None:
        self.agent.put("/v1/config", {"Kind": kind, "Name": name, **fields})

    def remove(self, kind: str, name: str) -> None:
        self.agent.request("DELETE", f"/v1/config/{kind}/{name}")

    def refused(self, kind: str, name: str, **fields: Any) -> str:
        """Why this entry is not taken."""
        status, _, body = self.agent.request("PUT", "/v1/config", {"Kind": kind, "Name": name, **fields})
        assert status == 400, (status, body)
        return body.decode()

    def names(self, upstream: str, count: int, target: str = "/", **more: Any) -> Counter[str]:
        """How often which instance answered; other answers by their status."""
        found: Counter[str] = Counter()
        with Client.to(self.ports[upstream]) as client:
            for _ in range(count):
                reply = client.ask(target, **more)
                found[reply.body.split()[0].decode() if reply.status == 200 else str(reply.status)] += 1
        return found


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with Mesh(tmp_path_factory.mktemp("features")) as mesh:
        yield mesh


@pytest.fixture(autouse=True)
def _as_before(mesh: Mesh) -> Iterator[None]:
    """Every test begins without traffic entries and scripts."""
    yield
    for app in mesh.apps.values():
        app.scripts.clear()
    for kind in ("service-router", "service-splitter", "service-intentions", "service-resolver"):
        for name in ("shop", "basket", "orders"):
            mesh.remove(kind, name)
    mesh.write("service-resolver", "basket", LoadBalancer={"Policy": "round_robin"})
    mesh.remove("mesh", "mesh")
    mesh.write("service-defaults", "web")
    for name in SERVICES[1:5]:
        mesh.write("service-defaults", name, Protocol="http")
    eventually(lambda: mesh.get("shop").body.startswith(b"shop"), "shop as before")
    eventually(lambda: mesh.names("basket", 9) == dict.fromkeys(PLACES, 3), f"basket as before\n{mesh.agent.log()}", 30)
    mesh.remove("service-resolver", "basket")
    eventually(lambda: mesh.get("orders").body.startswith(b"orders"), "orders as before")


def route(match: dict[str, Any], **destination: Any) -> dict[str, Any]:
    return {"Match": {"HTTP": match}, "Destination": destination}


# --- which way


def test_requests_are_routed_rewritten_and_edited(mesh: Mesh) -> None:
    mesh.write(
        "service-router",
        "shop",
        Routes=[
            route({"PathExact": "/exact"}, Service="basket"),
            route({"PathRegex": "/re/[0-9]+"}, Service="basket"),
            route({"PathPrefix": "/prefix/"}, Service="basket", PrefixRewrite="/"),
            route({"Header": [{"Name": "x-tier", "Exact": "premium"}]}, Service="basket"),
            route(
                {
                    "Header": [
                        {"Name": "x-tier", "Regex": "gold|silver"},
                        {"Name": "x-no", "Present": True, "Invert": True},
                    ]
                },
                Service="standby",
            ),
            route({"QueryParam": [{"Name": "debug", "Exact": "1"}]}, Service="standby"),
            route({"Methods": ["DELETE"]}, Service="standby"),
            route(
                {"PathPrefix": "/edit"},
                Service="basket",
                RequestHeaders={"Add": {"x-a": "1"}, "Set": {"x-s": "new"}, "Remove": ["x-r"]},
                ResponseHeaders={"Set": {"x-out": "yes"}},
            ),
            route({"PathExact": "/old"}, Redirect={"Path": "/new", "Status": 308}),
            route(
                {"PathPrefix": "/moved"}, Redirect={"Host": "other.example", "PrefixRewrite": "/", "Scheme": "https"}
            ),
        ],
    )
    eventually(lambda: mesh.get("shop", "/exact").body.startswith(b"basket"), "the router counts")

    def who(target: str = "/", **more: Any) -> str:
        return str(mesh.get("shop", target, **more).body.decode().partition("-")[0].split()[0])

    assert [who("/exact"), who("/exact/no"), who("/re/12"), who("/re/x")] == ["basket", "shop", "basket", "shop"]
    assert mesh.get("shop", "/prefix/x/y?z=1").body.split()[1] == b"/x/y?z=1"
    assert [who(headers=f"X-Tier: {tier}\r\n") for tier in ("premium", "gold", "bronze")] == [
        "basket",
        "standby",
        "shop",
    ]
    assert who(headers="X-Tier: gold\r\nX-No: 1\r\n") == "shop"
    assert [who("/?debug=1"), who("/?debug=2"), who("/?a=b&debug=%31")] == ["standby", "shop", "standby"]
    assert [who("/", method="DELETE"), who("/", method="POST")] == ["standby", "shop"]
    reply = mesh.get("shop", "/edit", headers="X-R: gone\r\nX-S: old\r\nX-A: 0\r\n")
    head = next(app for name, app in mesh.apps.items() if name == reply.body.split()[0].decode()).heads[-1]
    assert (header_of(head, "x-r"), header_of(head, "x-s"), reply.header("x-out")) == (None, "new", "yes")
    assert b"X-A: 0\r\n" in head
    assert b"x-a: 1\r\n" in head
    old = mesh.get("shop", "/old?x=1")
    assert (old.status, old.header("location")) == (308, "/new?x=1")
    assert mesh.get("shop", "/moved/a").header("location") == "https://other.example/a"


def test_a_splitter_keeps_its_weights_and_who_came_to_a_version_comes_to_it_again(mesh: Mesh) -> None:
    subsets = {"v1": {"Filter": "Service.Meta.version == v1"}, "v2": {"Filter": "Service.Meta.version == v2"}}
    mesh.write("service-resolver", "basket", DefaultSubset="v1", Subsets=subsets)
    eventually(lambda: "basket-3" not in mesh.names("basket", 30), "the default subset")
    mesh.write(
        "service-splitter",
        "basket",
        Splits=[
            {"Weight": 80, "ServiceSubset": "v1"},
            {"Weight": 20, "ServiceSubset": "v2", "ResponseHeaders": {"Set": {"x-version": "v2"}}},
        ],
        Sticky={"Cookie": "basket-version", "TTL": "1h"},
    )
    eventually(lambda: "basket-3" in mesh.names("basket", 40), "the canary")
    found = mesh.names("basket", 1000)
    assert 140 < found["basket-3"] < 260
    assert found["basket-1"] + found["basket-2"] + found["basket-3"] == 1000
    with Client.to(mesh.ports["basket"]) as client:
        for _ in range(30):
            first = client.ask()
            cookie = (first.header("set-cookie") or "").partition(";")[0]
            assert cookie.startswith("basket-version=")
            again = [client.ask(headers=f"Cookie: {cookie}\r\n") for _ in range(5)]
            assert {reply.header("x-version") for reply in again} == {first.header("x-version")}
            assert all(reply.header("set-cookie") is None for reply in again)


def test_a_resolver_leads_to_another_service(mesh: Mesh) -> None:
    mesh.write("service-resolver", "shop", Redirect={"Service": "standby"})
    eventually(lambda: mesh.get("shop").body.startswith(b"standby"), "the redirect")
    assert set(mesh.names("shop", 20)) == {"standby"}


@pytest.mark.parametrize("policy", ["", "peak_ewma", "round_robin", "least_request", "random"])
def test_every_policy_spreads_a_crowd_over_every_instance(policy: str, mesh: Mesh) -> None:
    if policy:
        mesh.write("service-resolver", "basket", LoadBalancer={"Policy": policy})
    for name in PLACES:
        mesh.apps[name].scripts["/work"] = _works(name)

    def crowd() -> Counter[str] | None:
        found: list[Counter[str]] = []
        asking = [threading.Thread(target=lambda: found.append(mesh.names("basket", 25, "/work"))) for _ in range(12)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        total = sum(found, Counter[str]())
        assert sum(total[name] for name in PLACES) == 300, total
        return total if min(total[name] for name in PLACES) > 50 else None

    eventually(crowd, f"{policy} spreads")
    if policy == "round_robin":
        eventually(lambda: crowd() == dict.fromkeys(PLACES, 100), "exactly in turn")


def _works(name: str) -> Callable[[Stream, bytes], None]:
    def script(stream: Stream, _head: bytes) -> None:
        time.sleep(0.005)
        stream.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(name)}\r\n\r\n{name}".encode())

    return script


@pytest.mark.parametrize("policy", ["ring_hash", "maglev"])
def test_a_hash_binds_a_user_to_an_instance_and_only_the_lost_one_moves(policy: str, mesh: Mesh) -> None:
    balancer = {"Policy": policy, "HashPolicies": [{"Field": "header", "FieldValue": "x-user"}]}
    mesh.write("service-resolver", "basket", LoadBalancer=balancer)

    def bound() -> dict[int, str] | None:
        """Whom each user meets; None while one meets several."""
        found = {user: mesh.names("basket", 4, headers=f"X-User: {user}\r\n") for user in range(40)}
        return (
            {user: next(iter(names)) for user, names in found.items()} if max(map(len, found.values())) == 1 else None
        )

    before = eventually(bound, "users are bound")
    assert set(before.values()) == set(PLACES)
    mesh.apps["basket-2"].scripts["/health"] = _unwell
    eventually(lambda: "basket-2" not in mesh.names("basket", 60), "one is gone")
    after = eventually(bound, "bound anew")
    assert all(after[user] == name for user, name in before.items() if name != "basket-2")


def _unwell(stream: Stream, _head: bytes) -> None:
    stream.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")


# --- when something is down


def test_a_failover_leaves_the_zone_then_the_region_and_never_the_regions_allowed(mesh: Mesh) -> None:
    mesh.write("mesh", "mesh", AllowedRegions=["eu-west"])
    mesh.write(
        "service-resolver",
        "basket",
        PrioritizeByLocality={"Mode": "failover"},
        Failover={"*": {"Targets": [{"Service": "standby"}]}},
    )
    eventually(lambda: set(mesh.names("basket", 30)) == {"basket-1"}, "own zone alone")
    mesh.apps["basket-1"].scripts["/health"] = _unwell
    eventually(lambda: set(mesh.names("basket", 30)) == {"basket-2"}, "own region")
    mesh.apps["basket-2"].scripts["/health"] = _unwell
    eventually(lambda: set(mesh.names("basket", 30)) == {"standby"}, "another service, not another region")
    mesh.apps["standby"].scripts["/health"] = _unwell
    eventually(lambda: set(mesh.names("basket", 5)) == {"503"}, "nobody: the one that is left is not allowed")
    mesh.write("mesh", "mesh", AllowedRegions=["eu-west", "eu-central"])
    eventually(lambda: set(mesh.names("basket", 30)) == {"basket-3"}, "allowed now")
    for name in ("basket-1", "basket-2", "standby"):
        mesh.apps[name].scripts.clear()
    eventually(lambda: set(mesh.names("basket", 30)) == {"basket-1"}, "back home")


def test_what_fails_is_tried_elsewhere_where_that_is_safe_and_left_out_when_it_goes_on(mesh: Mesh) -> None:
    def broken(stream: Stream, _head: bytes) -> None:
        stream.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")

    bad = mesh.apps["basket-1"]
    mesh.write("service-resolver", "basket", LoadBalancer={"Policy": "round_robin"})  # else who fails is hardly asked
    mesh.write(
        "service-defaults",
        "web",
        UpstreamConfig={"Overrides": [{"Name": "basket", "PassiveHealthCheck": {"MaxFailures": 1000}}]},
    )
    mesh.write("service-router", "basket", Routes=[route({}, NumRetries=2, RetryOnStatusCodes=[500])])
    bad.scripts["/work"] = broken
    eventually(lambda: "500" not in mesh.names("basket", 30, "/work"), "tried again")
    before = len(bad.seen("/work"))
    assert "500" not in mesh.names("basket", 30, "/work")
    eventually(lambda: mesh.names("basket", 30, "/work", method="POST")["500"] > 0, "POST is not tried again")
    assert len(bad.seen("/work")) > before
    mesh.write(
        "service-defaults",
        "web",
        UpstreamConfig={
            "Overrides": [{"Name": "basket", "PassiveHealthCheck": {"MaxFailures": 3, "BaseEjectionTime": "10s"}}]
        },
    )
    eventually(lambda: mesh.names("basket", 60, "/work", method="POST")["500"] == 0, "left out")
    before = len(bad.seen("/work"))
    mesh.names("basket", 100, "/work", method="POST")
    assert len(bad.seen("/work")) == before
    rows = eventually(
        lambda: [line for line in mesh.agent.cli("stat", "web").stdout.splitlines() if "/basket-1" in line], "shown"
    )
    assert [row.split()[0] for row in rows] == ["web"]
    assert rows[0].endswith("too many of its answers in a row were failures")
    metrics = mesh.agent.request("GET", "/v1/agent/metrics?format=prometheus")[2].decode()
    assert 'chowk_mesh_ejected_instances{service="web",upstream="basket"} 1.0' in metrics
    assert "an instance is left out" in mesh.agent.log()


def test_times_end_requests_and_fallbacks_answer_for_nobody(mesh: Mesh) -> None:
    mesh.write(
        "service-router",
        "shop",
        Routes=[
            route({"PathPrefix": "/slow"}, RequestTimeout="300ms"),
            route(
                {"PathPrefix": "/fallback"},
                Service="standby",
                Fallback={"Status": 200, "Body": "nobody home", "Headers": {"x-from": "fallback"}},
            ),
        ],
    )
    mesh.apps["shop"].scripts["/slow"] = lambda _stream, _head: time.sleep(2) or True
    eventually(lambda: mesh.get("shop", "/fallback").body.startswith(b"standby"), "the router counts")
    began = time.monotonic()
    reply = mesh.get("shop", "/slow")
    assert (reply.status, reply.error) == (504, "request-timeout")
    assert time.monotonic() - began < 1.5
    mesh.apps["standby"].scripts["/health"] = _unwell
    eventually(lambda: mesh.get("shop", "/fallback").body == b"nobody home", "the fallback")
    reply = mesh.get("shop", "/fallback")
    assert (reply.status, reply.header("x-from"), reply.error) == (200, "fallback", "no-healthy-instance")


# --- how much


class Held:
    """A script that answers only when it is told to."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.inside = 0

    def __call__(self, stream: Stream, _head: bytes) -> None:
        self.inside += 1
        self.go.wait(20)
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld")


@pytest.mark.parametrize("limit", ["MaxConcurrentRequests", "MaxInstanceRequests"])
def test_breakers_of_the_caller_refuse_at_once(mesh: Mesh, limit: str) -> None:
    mesh.write(
        "service-defaults",
        "web",
        UpstreamConfig={"Overrides": [{"Name": "orders", "Limits": {limit: 2}}]},
    )
    held = mesh.apps["orders"].scripts["/held"] = Held()
    clients = [Client.to(mesh.ports["orders"]) for _ in range(2)]
    for client in clients:
        client.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
    try:
        eventually(lambda: held.inside == 2, "both in work")
        eventually(lambda: mesh.get("orders").error == "circuit-open", "no third")
        assert mesh.get("orders").status == 503
    finally:
        held.go.set()
    assert [client.reply().body for client in clients] == [b"held", b"held"]
    assert mesh.get("orders").status == 200
    for client in clients:
        client.close()


def test_more_work_than_allowed_is_shed_by_priority_with_the_stated_fallback(mesh: Mesh) -> None:
    mesh.write(
        "service-defaults",
        "orders",
        Protocol="http",
        Concurrency={
            "Limit": 1,
            "PriorityHeader": "x-priority",
            "Fallback": {"Status": 503, "Body": "busy, try again"},
        },
    )
    held = mesh.apps["orders"].scripts["/held"] = Held()
    clients: list[Client] = []

    def shed() -> bool:
        """One more is put to work until the limit counts, then what comes waits a little and is shed."""
        clients.append(Client.to(mesh.ports["orders"]))
        clients[-1].send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        return bool(mesh.get("orders").body == b"busy, try again")

    try:
        eventually(shed, "the fallback")
        reply = mesh.get("orders", headers="X-Priority: sheddable\r\n")
        assert (reply.status, reply.error) == (503, "overloaded")
    finally:
        held.go.set()
    assert clients[0].reply().body == b"held"
    assert mesh.get("orders").status == 200
    for client in clients:
        client.close()


def test_adaptive_limits_let_ordinary_work_through(mesh: Mesh) -> None:
    mesh.write("service-defaults", "orders", Protocol="http", Concurrency={"Limit": 100, "Adaptive": True})
    assert mesh.names("orders", 300) == {"orders": 300}


def test_rates_hold_for_all_for_a_path_and_for_a_caller(mesh: Mesh) -> None:
    for limits, target, burst in (
        ({"InstanceLevel": {"RequestsPerSecond": 1, "RequestsMaxBurst": 5}}, "/", 5),
        (
            {"InstanceLevel": {"Routes": [{"PathPrefix": "/search", "RequestsPerSecond": 1, "RequestsMaxBurst": 3}]}},
            "/search/x",
            3,
        ),
        ({"Callers": [{"Name": "web", "RequestsPerSecond": 1, "RequestsMaxBurst": 4}]}, "/", 4),
    ):
        mesh.write("service-defaults", "orders", Protocol="http", RateLimits=limits)
        eventually(lambda target=target: mesh.names("orders", 10, target)["429"] >= 3, f"{limits}")
        mesh.write("service-defaults", "orders", Protocol="http")
        eventually(lambda target=target: mesh.names("orders", 10, target) == {"orders": 10}, "no limit")
        mesh.write("service-defaults", "orders", Protocol="http", RateLimits=limits)
        eventually(lambda target=target: mesh.names("orders", 10, target)["429"] >= 3, f"{limits}")
        reply = mesh.get("orders", target)
        assert (reply.status, reply.error, reply.header("retry-after")) == (429, "rate-limited", "1")
        assert mesh.names("orders", 10, target)["orders"] <= burst
        if target != "/":
            assert mesh.names("orders", 10, "/other") == {"orders": 10}


# --- copies and faults


def test_a_mirror_gets_copies_with_a_shadow_host_and_its_answers_go_nowhere(mesh: Mesh) -> None:
    mesh.write(
        "service-router", "shop", Routes=[route({"PathPrefix": "/m"}, Mirror={"Service": "standby", "Percent": 100})]
    )
    shadow = mesh.apps["standby"]
    shadow.scripts["/m/bad"] = _unwell
    eventually(lambda: mesh.get("shop", "/m/warm").status == 200 and shadow.seen("/m/warm"), "mirrored")
    for host, copy in (("api:81", "api-shadow:81"), ("[::1]:81", "[::1]:81"), ("10.0.0.1", "10.0.0.1-shadow")):
        with Client.to(mesh.ports["shop"]) as client:
            client.send(f"POST /m/bad HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n\r\nbody".encode())
            assert client.reply().body == b"shop /m/bad 4"
        eventually(lambda copy=copy: header_of(shadow.seen("/m/bad")[-1], "host") == copy, f"{copy}")
    with Client.to(mesh.ports["shop"]) as client:
        client.send(b"GET /m/old HTTP/1.0\r\n\r\n")
        assert client.reply().status == 200
    eventually(lambda: header_of(shadow.seen("/m/old")[-1], "host") == "shop-shadow", "HTTP/1.0 without Host")
    assert not shadow.seen("/other")


def _expires(hours: float) -> str:
    return (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_faults_are_guarded_and_end_by_themselves(mesh: Mesh, tmp_path: Path) -> None:
    def fault(**more: Any) -> list[dict[str, Any]]:
        return [route({"PathPrefix": "/f"}, Fault={"Abort": {"Percent": 100, "Status": 418}, **more})]

    assert "MaxPercent" in mesh.refused("service-router", "shop", Routes=fault(Expires=_expires(1))).replace(
        "max_percent", "MaxPercent"
    )
    assert "xpires" in mesh.refused("service-router", "shop", Routes=fault(MaxPercent=100))
    assert "xpires" in mesh.refused("service-router", "shop", Routes=fault(MaxPercent=100, Expires=_expires(48)))
    assert mesh.get("shop", "/f").status == 200
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=4)
    mesh.write("service-router", "shop", Routes=fault(MaxPercent=100, Expires=soon.strftime("%Y-%m-%dT%H:%M:%SZ")))
    eventually(lambda: mesh.get("shop", "/f").status == 418, "the fault")
    assert mesh.get("shop", "/f").error == "fault-injected"
    assert mesh.get("shop", "/").status == 200
    eventually(lambda: mesh.get("shop", "/f").status == 200, "over by itself", 8)
    forced = tmp_path / "forced.hcl"
    forced.write_text(f"""
    Kind = "service-router"
    Name = "shop"
    Routes = [ {{
      Match {{ HTTP {{ PathPrefix = "/d" }} }}
      Destination {{ Fault {{ Delay {{ Percent = 100, Duration = "400ms" }}, Expires = "{_expires(1)}" }} }}
    }} ]
    """)
    assert mesh.agent.cli("config", "write", str(forced)).returncode != 0
    done = mesh.agent.cli("config", "write", "-force", str(forced))
    assert done.returncode == 0, done.stderr

    def delayed() -> bool:
        began = time.monotonic()
        return mesh.get("shop", "/d").status == 200 and time.monotonic() - began > 0.35

    eventually(delayed, "delayed")


# --- what passes


def test_intentions_judge_headers_and_paths_however_they_are_spelt(mesh: Mesh) -> None:
    http = {"PathPrefix": "/admin", "Header": [{"Name": "x-role", "Exact": "root", "Invert": True}]}
    mesh.write(
        "service-intentions",
        "shop",
        Sources=[
            {
                "Name": "web",
                "Permissions": [{"Action": "deny", "HTTP": http}, {"Action": "allow", "HTTP": {"PathPrefix": "/"}}],
            }
        ],
    )
    eventually(lambda: mesh.get("shop", "/admin").status == 403, "denied")
    doors = [
        lambda: Client.to(mesh.ports["shop"]),
        lambda: inside(caller(mesh.agent, "web"), public_port(mesh.agent, "shop")),
    ]
    for door in doors:
        for target, headers, status in (
            ("/admin", "X-Role: root\r\n", 200),
            ("/%61dmin", "", 403),
            ("//x/../admin/y", "", 403),
            ("/admin", "X-Role: root\r\nX-Role: guest\r\n", 403),
            ("/admin", "X-Role: root\r\nConnection: x-role\r\n", 403),
            ("/public", "", 200),
        ):
            with door() as client:
                assert client.ask(target, headers=headers).status == status, (target, headers)


def test_request_ids_and_trace_context_pass_and_who_called_is_proven(mesh: Mesh) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    given = f"X-Request-Id: mine-1\r\nTraceparent: {trace}\r\nTracestate: a=b\r\nBaggage: c=d\r\nX-Forwarded-Client-Cert: URI=spiffe://evil\r\n"
    assert mesh.get("shop", "/traced", headers=given).status == 200
    head = mesh.apps["shop"].seen("/traced")[-1]
    assert [header_of(head, name) for name in ("x-request-id", "traceparent", "tracestate", "baggage")] == [
        "mine-1",
        trace,
        "a=b",
        "c=d",
    ]
    cert = header_of(head, "x-forwarded-client-cert") or ""
    assert cert.endswith("/svc/web")
    assert "evil" not in cert
    made = set()
    for _ in range(3):
        mesh.get("shop", "/made")
        made.add(header_of(mesh.apps["shop"].seen("/made")[-1], "x-request-id"))
    assert len(made) == 3
    assert None not in made


def _echoes(stream: Stream, head: bytes) -> bool:
    if head.startswith(b"CONNECT"):
        stream.send(b"HTTP/1.1 200 Connected\r\n\r\n")
    else:
        stream.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nfirst ")
    while data := stream.read():
        stream.send(data)
    return True


def test_websockets_and_connect_become_pipes(mesh: Mesh) -> None:
    mesh.apps["shop"].scripts |= {"/socket": _echoes, "host:1": _echoes}
    with Client.to(mesh.ports["shop"]) as client:
        client.send(b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly ")
        assert client.until(END).startswith(b"HTTP/1.1 101 ")
        client.send(b"\x00\xffGET / HTTP/1.1\r\n\r\n" * 1000)
        assert client.exactly(12 + 20_000) == b"first early " + b"\x00\xffGET / HTTP/1.1\r\n\r\n" * 1000
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b""
    with Client.to(mesh.ports["shop"]) as client:
        client.send(b"CONNECT host:1 HTTP/1.1\r\nHost: host:1\r\n\r\n")
        assert client.until(END).startswith(b"HTTP/1.1 200 ")
        client.send(b"anything")
        assert client.exactly(8) == b"anything"
    with Client.to(mesh.ports["shop"]) as client:
        client.send(
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n\r\n"
        )
        assert client.reply().status == 200


def test_requests_share_few_kept_connections(mesh: Mesh) -> None:
    mesh.names("shop", 5)
    before = mesh.apps["shop"].connections
    for _ in range(20):
        assert mesh.names("shop", 10) == {"shop": 10}
    health_checks = 20
    assert mesh.apps["shop"].connections - before < 5 + health_checks


@pytest.mark.parametrize("protocol", ["http2", "grpc", "tcp"])
def test_http2_and_grpc_are_carried_as_they_are(protocol: str, mesh: Mesh) -> None:
    mesh.write("service-defaults", "raw", Protocol=protocol)
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 100
    mesh.apps["raw"].scripts["*"] = lambda stream, head: (
        stream.send(head + stream.exactly(len(preface) - len(head))) is None
    )

    def carried() -> bool:
        with Client.to(mesh.ports["raw"]) as client:
            client.send(preface)
            return client.exactly(len(preface)) == preface

    eventually(carried, f"{protocol} passes")


# --- entries that must not be


def test_entries_that_make_no_sense_are_refused_with_their_reason_and_change_nothing(mesh: Mesh) -> None:
    before = mesh.agent.get("/v1/config/service-defaults")
    assert mesh.get("shop").status == 200
    mesh.write("service-resolver", "shop", Redirect={"Service": "standby"})
    bomb = "((((a{1,100}){1,100}){1,100}){1,100})"
    for kind, name, fields in (
        ("service-resolver", "standby", {"Redirect": {"Service": "shop"}}),
        ("service-splitter", "basket", {"Splits": [{"Weight": 60}, {"Weight": 30, "Service": "shop"}]}),
        ("service-splitter", "basket", {"Splits": [{"Weight": -10}, {"Weight": 110, "Service": "shop"}]}),
        ("service-splitter", "basket", {"Splits": [{"Weight": 100, "ServiceSubset": "v9"}]}),
        ("service-splitter", "basket", {"Splits": []}),
        ("service-router", "basket", {"Routes": [route({}, ServiceSubset="v9")]}),
        ("service-router", "basket", {"Routes": [route({}, RequestTimeout="5")]}),
        ("service-router", "basket", {"Routes": [route({}, RequestTimeout="-5s")]}),
        ("service-router", "basket", {"Routes": [route({"PathRegex": bomb})]}),
        ("service-router", "basket", {"Routes": [route({"PathRegex": "(a"})]}),
        ("service-router", "basket", {"Routes": [route({"PathExact": "/a", "PathPrefix": "/b"})]}),
        ("service-router", "basket", {"Routes": [route({}, Service="raw")]}),
        ("service-router", "basket", {"Routs": []}),
        ("service-resolver", "basket", {"ConnectTimeout": "3"}),
        ("service-resolver", "basket", {"DefaultSubset": "v9"}),
        ("service-resolver", "basket", {"Subsets": {"v1": {"Filter": "Service.Meta.version === v1"}}}),
        ("service-resolver", "basket", {"LoadBalancer": {"Policy": "sideways"}}),
    ):
        reason = mesh.refused(kind, name, **fields)
        assert 10 < len(reason) < 2000, (kind, fields, reason)
    assert mesh.agent.get("/v1/config/service-defaults") == before
    for kind in ("service-splitter", "service-router"):
        assert mesh.agent.get(f"/v1/config/{kind}") == []
    assert set(mesh.names("basket", 60)) <= set(PLACES)


def test_splitters_that_lead_to_each_other_and_subsets_of_nobody_harm_nobody(mesh: Mesh) -> None:
    mesh.write("service-splitter", "basket", Splits=[{"Weight": 100, "Service": "shop"}])
    assert "circ" in mesh.refused("service-splitter", "shop", Splits=[{"Weight": 100, "Service": "basket"}]).lower()
    mesh.remove("service-splitter", "basket")
    mesh.write(
        "service-resolver", "basket", DefaultSubset="none", Subsets={"none": {"Filter": "Service.Meta.version == v9"}}
    )
    eventually(lambda: mesh.get("basket").error == "no-healthy-instance", "said in words")
    assert mesh.get("shop").status == 200


def test_a_regular_expression_that_would_explode_takes_no_time(mesh: Mesh) -> None:
    mesh.write(
        "service-router",
        "shop",
        Routes=[
            route({"PathRegex": "/(a+)+b"}, Service="standby"),
            route({"PathRegex": "/x(.*a){12}"}, Service="standby"),
        ],
    )
    eventually(lambda: mesh.get("shop", "/aab").body.startswith(b"standby"), "the router counts")
    began = time.monotonic()
    for target in ("/" + "a" * 8000, "/x" + "a" * 8000 + "c"):
        assert mesh.get("shop", target).body.startswith(b"shop")
    assert time.monotonic() - began < 1.0
