"""py-consul, unmodified, over a real agent: every method it has is served as it documents it, or refused with a reason.

A test that `shows` a method fails unless that method was called and returned. What is refused stands in REFUSED.
"""

from __future__ import annotations

import base64
import inspect
import operator
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from consul import Check, Consul
from consul.exceptions import ACLDisabled, ConsulException
from requests import RequestException

from harness.agent import AgentProcess
from harness.clients import Refusal, Watched, shows
from harness.waiting import eventually

CLIENT = "py-consul"
ACLS = "access control is not there yet"
KEY = base64.b64encode(bytes(range(32))).decode()
OTHER_KEY = base64.b64encode(bytes(range(1, 33))).decode()


def watch_the_log(c: Consul) -> Any:
    """The library reads to the end of a stream that has none, and gives up when no line came for this long."""
    c.http.connections_timeout = 0.2
    try:
        return c.agent.monitor("error")
    finally:
        c.http.connections_timeout = 30


REFUSED: tuple[Refusal, ...] = (
    Refusal("agent.monitor", watch_the_log, "Read timed out", "the stream is served; the library waits for its end"),
    Refusal("operator.usage", lambda c: c.operator.usage(), "None", "counts for licences, of no use here"),
    *(
        Refusal(
            f"agent.token.{name}", lambda c, name=name: getattr(c.agent.token, name)("s"), "ACL support disabled", ACLS
        )
        for name in ("set_default", "set_agent", "set_agent_recovery", "set_replication")
    ),
    Refusal(
        "agent.token.set_config_file_service_registration",
        lambda c: c.agent.token.set_config_file_service_registration("s"),
        "ACL support disabled",
        ACLS,
    ),
    Refusal("agent.token.set", lambda c: c.agent.token.set("default", "s"), "ACL support disabled", ACLS),
)


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    hcl = f'encrypt = "{KEY}"\nenable_script_checks = true'
    with AgentProcess(tmp_path_factory.mktemp("py-consul"), hcl, dev=False) as made:
        yield made


@pytest.fixture
def c(agent: AgentProcess, request: pytest.FixtureRequest) -> Iterator[Consul]:
    """The client; afterwards, what the test shows must have been called."""
    with Consul(port=agent.http_port) as client:
        client.watched = Watched(client, "consul.api")
        yield client
        shown = getattr(request.function, "shown", None)
        if shown is not None:
            assert set(shown.features) - client.watched.called == set(), "shown, but not called"


def find(rows: list[Any], **wanted: Any) -> Any:
    return next((row for row in rows if all(row[name] == value for name, value in wanted.items())), None)


# --- agent


@shows(
    CLIENT,
    "agent.service.register",
    "agent.services",
    "agent.service_definition",
    "agent.checks",
    "agent.service.maintenance",
    "agent.service.deregister",
)
def test_a_service_is_registered_kept_in_maintenance_and_taken_away(c: Consul, agent: AgentProcess) -> None:
    assert c.agent.service.register(
        "web",
        service_id="web-1",
        address="127.0.0.9",
        port=8080,
        tags=["v1", "blue"],
        meta={"zone": "a"},
        weights={"Passing": 3, "Warning": 1},
        check=Check.ttl("30s"),
        extra_checks=[Check.tcp("127.0.0.1", agent.http_port, "10s")],
        replace_existing_checks=True,
        enable_tag_override=True,
        tagged_addresses={"lan": {"address": "127.0.0.10", "port": 81}},
        locality={"Region": "r", "Zone": "z"},
    )
    row = c.agent.services()["web-1"]
    assert (row["Service"], row["Address"], row["Port"], row["Tags"]) == ("web", "127.0.0.9", 8080, ["v1", "blue"])
    assert (row["Meta"], row["Weights"]) == ({"zone": "a"}, {"Passing": 3, "Warning": 1})
    assert row["EnableTagOverride"] is True
    assert row["TaggedAddresses"]["lan"] == {"Address": "127.0.0.10", "Port": 81}
    assert list(c.agent.services(filter_expr='Service == "web"')) == ["web-1"]
    assert c.agent.services(filter_expr='Service == "none"') == {}
    definition = c.agent.service_definition("web-1")
    assert (definition["Service"], definition["Port"]) == ("web", 8080)
    assert definition["ContentHash"]
    checks = c.agent.checks(filter_expr='ServiceID == "web-1"')
    assert sorted(checks) == ["service:web-1:1", "service:web-1:2"]
    assert checks["service:web-1:1"]["Status"] == "critical"
    assert c.agent.service.maintenance("web-1", True, "upkeep")
    assert c.agent.checks()["_service_maintenance:web-1"]["Notes"] == "upkeep"
    assert c.agent.service.maintenance("web-1", False)
    assert "_service_maintenance:web-1" not in c.agent.checks()
    assert c.agent.service.deregister("web-1")
    assert "web-1" not in c.agent.services()


@shows(
    CLIENT,
    "agent.check.register",
    "agent.check.ttl_pass",
    "agent.check.ttl_warn",
    "agent.check.ttl_fail",
    "agent.check.deregister",
)
def test_a_check_is_passed_warned_failed_and_taken_away(c: Consul) -> None:
    assert c.agent.check.register("beat", check=Check.ttl("30s"), check_id="beat-1", notes="n")
    for tell, status in (
        (c.agent.check.ttl_pass, "passing"),
        (c.agent.check.ttl_warn, "warning"),
        (c.agent.check.ttl_fail, "critical"),
    ):
        assert tell("beat-1", notes=f"now {status}")
        row = c.agent.checks()["beat-1"]
        assert (row["Status"], row["Output"]) == (status, f"now {status}")
    assert c.agent.check.deregister("beat-1")
    assert "beat-1" not in c.agent.checks()


@pytest.mark.parametrize(
    "check",
    [
        Check.script(["/bin/true"], "10s", deregister="90m"),
        Check.http("http://127.0.0.1:1/", "10s", timeout="1s", deregister="90m", header={"x-foo": ["bar"]}),
        Check.tcp("127.0.0.1", 1, "10s", timeout="1s"),
        Check.grpc("127.0.0.1:1", "10s", use_tls=False),
        Check.ttl("10s"),
    ],
    ids=lambda check: next(iter(check)),
)
@shows(CLIENT, "agent.check.register")
def test_every_kind_of_check_that_it_can_write_is_taken(c: Consul, check: dict[str, Any]) -> None:
    assert c.agent.check.register("kind", check=check, check_id="kind-1")
    assert c.agent.checks()["kind-1"]["Name"] == "kind"
    assert c.agent.service.register("kind", service_id="kind-2", check=check)
    assert c.agent.checks()["service:kind-2"]["ServiceName"] == "kind"
    assert c.agent.check.deregister("kind-1")
    assert c.agent.service.deregister("kind-2")


@shows(CLIENT, "agent.self", "agent.members", "agent.maintenance", "agent.reload")
def test_the_agent_tells_of_itself_goes_into_maintenance_and_reloads(c: Consul) -> None:
    told = c.agent.self()
    assert (told["Config"]["NodeName"], told["Config"]["Datacenter"], told["Member"]["Name"]) == (
        "host1",
        "dc1",
        "host1",
    )
    [member] = c.agent.members()
    assert (member["Name"], member["Status"]) == ("host1", 1)
    assert c.agent.members(wan=True)[0]["Name"].startswith("host1")
    assert c.agent.maintenance(True, "upkeep")
    assert c.agent.checks()["_node_maintenance"]["Notes"] == "upkeep"
    assert c.agent.maintenance(False)
    assert "_node_maintenance" not in c.agent.checks()
    assert c.agent.reload()


@shows(CLIENT, "agent.join", "agent.force_leave")
def test_joining_itself_and_forcing_out_a_stranger_are_answered(c: Consul, agent: AgentProcess) -> None:
    assert c.agent.join(f"127.0.0.1:{agent.gossip_port}")
    with pytest.raises(ConsulException):
        c.agent.join("127.0.0.1:1")
    assert c.agent.force_leave("stranger") is False
    assert c.agent.force_leave("host1", prune=True) in (True, False)


@shows(CLIENT, "agent.metrics")
def test_metrics_are_read_in_both_forms(c: Consul) -> None:
    assert {"Gauges", "Counters", "Samples"} <= set(c.agent.metrics())
    assert "# TYPE" in c.agent.metrics(format_prometheus=True)


@shows(CLIENT, "agent.connect.ca.roots", "agent.connect.ca.leaf", "agent.connect.authorize")
def test_roots_leaves_and_authorize(c: Consul) -> None:
    roots = c.agent.connect.ca.roots()
    [root] = [each for each in roots["Roots"] if each["Active"]]
    assert root["ID"] == roots["ActiveRootID"]
    leaf = c.agent.connect.ca.leaf("web")
    assert (leaf["Service"], leaf["ServiceURI"].rpartition("/")[2]) == ("web", "web")
    ssl.PEM_cert_to_DER_cert(leaf["CertPEM"].split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n")
    verdict = c.agent.connect.authorize("db", leaf["ServiceURI"], leaf["SerialNumber"])
    assert verdict["Authorized"] is True
    assert verdict["Reason"]


# --- catalog, health


@shows(
    CLIENT,
    "catalog.register",
    "catalog.nodes",
    "catalog.node",
    "catalog.services",
    "catalog.service",
    "catalog.connect",
    "catalog.datacenters",
    "catalog.gateway_services",
    "catalog.deregister",
    "health.service",
    "health.connect",
    "health.checks",
    "health.node",
    "health.state",
    "health.ingress",
)
def test_a_node_of_the_catalog_is_seen_by_every_read_and_taken_away(c: Consul) -> None:
    service = {"Service": "ext", "ID": "ext-1", "Tags": ["t"], "Address": "127.0.0.7", "Port": 99, "Meta": {"m": "1"}}
    check = {"Node": "outside", "CheckID": "ext-check", "Name": "c", "ServiceID": "ext-1", "Status": "passing"}
    lan = {"lan": "127.0.0.8"}
    assert c.catalog.register("outside", "127.0.0.7", service, check, tagged_addresses=lan, token="a-token")
    mesh = {"Service": "mesh", "Connect": {"Native": True}}
    assert c.catalog.register("outside", "127.0.0.7", mesh, skip_node_update=True)
    only = 'TaggedAddresses["lan"] == "127.0.0.8"'
    index, nodes = c.catalog.nodes(filter_expr=only, near="_agent", consistency="consistent")
    assert int(index) > 0
    assert [node["Node"] for node in nodes] == ["outside"]
    assert c.catalog.nodes(filter_expr='Node == "outside"', consistency="stale")[1][0]["Address"] == "127.0.0.7"
    assert c.catalog.node("outside")[1]["Services"]["ext-1"]["Port"] == 99
    assert c.catalog.node("none")[1] is None
    assert c.catalog.nodes(node_meta={"external": "yes"})[1] == []
    assert c.catalog.services()[1].items() >= {"ext": ["t"], "mesh": []}.items()
    [row] = c.catalog.service("ext", tag="t", near="_agent", filter_expr='ServiceMeta["m"] == "1"')[1]
    assert (row["ServiceAddress"], row["ServicePort"], row["TaggedAddresses"]) == ("127.0.0.7", 99, lan)
    assert [each["ServiceName"] for each in c.catalog.connect("mesh")[1]] == ["mesh"]
    assert c.catalog.datacenters() == ["dc1"]
    assert c.catalog.gateway_services("edge") == c.health.ingress("edge")[1] == [], "there are no gateways yet"
    [instance] = c.health.service("ext", passing=True, tag="t")[1]
    assert (instance["Node"]["Node"], instance["Service"]["ID"], instance["Checks"][0]["Status"]) == (
        "outside",
        "ext-1",
        "passing",
    )
    assert [each["Service"]["Service"] for each in c.health.connect("mesh")[1]] == ["mesh"]
    assert [each["CheckID"] for each in c.health.checks("ext", near="_agent")[1]] == ["ext-check"]
    assert find(c.health.node("outside")[1], CheckID="ext-check")
    for state in ("any", "passing"):
        assert find(c.health.state(state)[1], CheckID="ext-check")
    assert c.health.state("warning")[1] == []
    assert c.catalog.deregister("outside", check_id="ext-check")
    assert c.health.checks("ext")[1] == []
    assert c.catalog.deregister("outside", service_id="ext-1")
    assert c.catalog.deregister("outside")
    assert c.catalog.nodes(filter_expr='Node == "outside"')[1] == []


@shows(CLIENT, "health.service", "kv.get")
def test_blocking_reads_end_when_something_changes_or_the_wait_does(c: Consul) -> None:
    index, _none = c.health.service("late")
    again, rows = c.health.service("late", index=index, wait="100ms")
    assert (rows, int(again) >= 1) == ([], True)
    assert c.agent.service.register("late", port=1)
    eventually(lambda: c.health.service("late", index=index, wait="5s")[1], "the change")
    assert c.agent.service.deregister("late")
    c.kv.put("waited", "1")
    index, _value = c.kv.get("waited")
    assert c.kv.get("waited", index=index, wait="50ms")[1]["Value"] == b"1"


# --- keys, sessions, transactions


@shows(CLIENT, "kv.put", "kv.get", "kv.delete")
def test_keys(c: Consul) -> None:
    assert c.kv.put("a/b", b"\x00\xff", flags=7)
    row = c.kv.get("a/b", consistency="consistent")[1]
    assert (row["Value"], row["Flags"]) == (b"\x00\xff", 7)
    assert c.kv.put("a/b", "2", cas=1) is False
    assert c.kv.put("a/b", "2", cas=row["ModifyIndex"]) is True
    assert c.kv.put("a/c/d", "3")
    assert c.kv.get("a/", keys=True, separator="/")[1] == ["a/b", "a/c/"]
    assert [each["Key"] for each in c.kv.get("a/", recurse=True)[1]] == ["a/b", "a/c/d"]
    assert c.kv.delete("a/b", cas=1) is False
    assert c.kv.delete("a/", recurse=True) is True
    assert c.kv.get("a/b")[1] is None


@shows(CLIENT, "session.create", "session.info", "session.list", "session.node", "session.renew", "session.destroy")
def test_sessions_hold_keys_and_let_go(c: Consul) -> None:
    made = c.session.create(name="s", behavior="delete", ttl=30, lock_delay=0)
    row = c.session.info(made)[1]
    assert (row["ID"], row["Name"], row["Behavior"], row["TTL"]) == (made, "s", "delete", "30s")
    assert find(c.session.list()[1], ID=made)
    assert find(c.session.node("host1")[1], ID=made)
    assert c.session.renew(made)["ID"] == made
    assert c.kv.put("lock", "mine", acquire=made) is True
    other = c.session.create(lock_delay=0)
    assert c.kv.put("lock", "theirs", acquire=other) is False
    assert c.kv.put("lock", "mine", release=made) is True
    assert c.kv.put("lock", "theirs", acquire=other) is True
    assert c.session.destroy(other)
    assert "Session" not in c.kv.get("lock")[1]
    assert c.session.destroy(made)
    assert c.session.info(made)[1] is None


@shows(CLIENT, "txn.put")
def test_a_transaction_changes_all_or_nothing(c: Consul) -> None:
    value = base64.b64encode(b"v").decode()
    done = c.txn.put([{"KV": {"Verb": "set", "Key": "t/a", "Value": value}}, {"KV": {"Verb": "get", "Key": "t/a"}}])
    assert [each["KV"]["Key"] for each in done["Results"]] == ["t/a", "t/a"]
    assert done["Results"][1]["KV"]["Value"] == value
    with pytest.raises(ConsulException, match="409"):
        c.txn.put([{"KV": {"Verb": "set", "Key": "t/b", "Value": value}}, {"KV": {"Verb": "get", "Key": "t/none"}}])
    assert c.kv.get("t/b")[1] is None


# --- queries, events, coordinates


@shows(
    CLIENT,
    "query.create",
    "query.get",
    "query.list",
    "query.update",
    "query.execute",
    "query.explain",
    "query.delete",
)
def test_prepared_queries(c: Consul) -> None:
    assert c.agent.service.register("asked", service_id="asked-1", port=7, tags=["v1"])
    eventually(lambda: c.catalog.service("asked")[1], "registered")
    made = c.query.create("asked", name="find-asked", ttl="10s", tags=["v1"], onlypassing=True)["ID"]
    [row] = c.query.get(made)
    assert (row["ID"], row["Name"], row["Service"]["Service"]) == (made, "find-asked", "asked")
    assert find(c.query.list(), ID=made)
    found = c.query.execute("find-asked", near="_agent", limit=1)
    assert [each["Service"]["ID"] for each in found["Nodes"]] == ["asked-1"]
    assert (found["Service"], found["Datacenter"], found["DNS"]) == ("asked", "dc1", {"TTL": "10s"})
    assert c.query.explain("find-asked")["Query"]["Service"]["Service"] == "asked"
    assert c.query.update(made, service="asked", name="find-asked-2")
    assert c.query.execute("find-asked-2")["Nodes"], "the library makes templates, which are asked by name alone"
    assert c.query.delete(made)
    assert c.query.get(made) is None
    assert c.agent.service.deregister("asked-1")


@shows(CLIENT, "event.fire", "event.list")
def test_events_are_fired_and_listed(c: Consul) -> None:
    fired = c.event.fire("deploy", "v7")
    assert fired["Name"] == "deploy"
    row = eventually(lambda: find(c.event.list("deploy")[1], ID=fired["ID"]), "the event")
    assert row["Payload"] == b"v7"


@shows(CLIENT, "coordinate.datacenters", "coordinate.nodes", "coordinate.node", "coordinate.update")
def test_coordinates_are_told_and_taken(c: Consul) -> None:
    assert [each["Datacenter"] for each in c.coordinate.datacenters()] == ["dc1"]
    coordinate = {"Adjustment": 0.0, "Error": 1.5, "Height": 0.001, "Vec": [0.0] * 8}
    assert c.catalog.register("far", "127.0.0.8")
    assert c.coordinate.update("far", coordinate)
    row = eventually(lambda: find(c.coordinate.nodes()[1], Node="far"), "the coordinate")
    assert row["Coord"]["Height"] == 0.001
    assert c.coordinate.node("far")[1][0]["Coord"] == row["Coord"]
    assert c.catalog.deregister("far")


# --- mesh


@shows(CLIENT, "connect.ca.roots", "connect.ca.configuration", "connect.ca.update_configuration")
def test_the_certificate_authority(c: Consul) -> None:
    assert c.connect.ca.roots()["Roots"]
    configuration = c.connect.ca.configuration()
    assert configuration["Provider"] == "consul"
    assert c.connect.ca.update_configuration("consul", {**configuration["Config"], "LeafCertTTL": "48h"})
    assert c.connect.ca.configuration()["Config"]["LeafCertTTL"] in ("48h", "48h0m0s")


@shows(
    CLIENT,
    "connect.intentions.upsert",
    "connect.intentions.read",
    "connect.intentions.list",
    "connect.intentions.match",
    "connect.intentions.check",
    "connect.intentions.delete",
)
def test_intentions(c: Consul) -> None:
    assert c.connect.intentions.upsert("web", "db", action="deny", description="d", meta={"k": "v"})
    row = c.connect.intentions.read("web", "db")
    assert (row["SourceName"], row["DestinationName"], row["Action"], row["Meta"]) == ("web", "db", "deny", {"k": "v"})
    assert find(c.connect.intentions.list(filter_expr='Action == "deny"'), DestinationName="db")
    assert find(c.connect.intentions.match("destination", "db")["db"], SourceName="web")
    assert c.connect.intentions.check("web", "db") is False
    assert c.connect.intentions.delete("web", "db")
    assert c.connect.intentions.check("web", "db") is True


@shows(CLIENT, "config.set", "config.get", "config.list", "config.delete", "discovery_chain.get")
def test_config_entries_and_the_discovery_chain_made_of_them(c: Consul) -> None:
    assert c.config.set("service-defaults", "paid", {"Protocol": "http", "Meta": {"m": "1"}}) is True
    row = c.config.get("service-defaults", "paid")
    assert (row["Kind"], row["Name"], row["Protocol"], row["Meta"]) == ("service-defaults", "paid", "http", {"m": "1"})
    assert c.config.set("service-defaults", "paid", {"Protocol": "tcp"}, cas=1) is False
    assert find(c.config.list("service-defaults"), Name="paid")
    chain = c.discovery_chain.get("paid")["Chain"]
    assert (chain["ServiceName"], chain["Datacenter"], chain["Protocol"]) == ("paid", "dc1", "http")
    assert chain["Nodes"][chain["StartNode"]]
    overridden = c.discovery_chain.get("paid", override_protocol="tcp", override_connect_timeout="7s")["Chain"]
    assert overridden["Protocol"] == "tcp"
    assert c.config.delete("service-defaults", "paid", cas=row["ModifyIndex"]) is True
    assert c.config.get("service-defaults", "paid") is None


# --- the cluster


@shows(
    CLIENT,
    "status.leader",
    "status.peers",
    "operator.raft_config",
    "operator.raft_transfer_leader",
    "operator.raft_remove_peer",
)
def test_the_leader_and_its_peers(c: Consul, agent: AgentProcess) -> None:
    address = f"127.0.0.1:{agent.rpc_port}"
    assert (c.status.leader(), c.status.peers()) == (address, [address])
    [server] = c.operator.raft_config()["Servers"]
    assert (server["Address"], server["Leader"], server["Voter"]) == (address, True, True)
    assert c.operator.raft_transfer_leader("nobody") is False
    assert c.operator.raft_remove_peer(address="127.0.0.1:1") is False
    assert c.operator.raft_remove_peer(peer_id="nobody") is False


@shows(
    CLIENT, "operator.autopilot_configuration", "operator.update_autopilot_configuration", "operator.autopilot_health"
)
def test_autopilot(c: Consul) -> None:
    assert c.operator.update_autopilot_configuration(cleanup_dead_servers=False, last_contact_threshold="300ms")
    told = c.operator.autopilot_configuration()
    assert (told["CleanupDeadServers"], told["LastContactThreshold"]) == (False, "300ms")
    assert c.operator.update_autopilot_configuration(cleanup_dead_servers=True, cas=1) is False
    assert c.operator.autopilot_health()["FailureTolerance"] == 0


@shows(CLIENT, "operator.keyring_list", "operator.keyring_install", "operator.keyring_use", "operator.keyring_remove")
def test_keys_of_the_gossip_are_rotated(c: Consul) -> None:
    assert c.operator.keyring_install(OTHER_KEY)
    [ring] = [each for each in c.operator.keyring_list() if not each.get("WAN")]
    assert set(ring["Keys"]) == {KEY, OTHER_KEY}
    assert c.operator.keyring_use(OTHER_KEY)
    assert c.operator.keyring_use(KEY)
    assert c.operator.keyring_remove(OTHER_KEY)


@shows(CLIENT, "snapshot.save", "snapshot.restore")
def test_a_snapshot_is_saved_and_restored(c: Consul) -> None:
    c.kv.put("saved", "1")
    archive = c.snapshot.save()
    c.kv.put("saved", "2")
    assert c.snapshot.restore(archive)
    assert eventually(lambda: c.kv.get("saved")[1], "restored")["Value"] == b"1"


@shows(CLIENT, "agent.leave")
def test_an_agent_that_is_told_to_leave_ends(tmp_path: Path, c: Consul) -> None:
    with AgentProcess(tmp_path) as other, Consul(port=other.http_port) as client:
        seen = Watched(client, "consul.api")
        assert client.agent.leave()
        assert other.process is not None
        assert other.process.wait(20) == 0
        c.watched.called |= seen.called


# --- what is refused


def arguments(method: Any) -> dict[str, Any]:
    """Something for each parameter that a method wants."""
    wanted = inspect.signature(method).parameters.values()
    return {each.name: "x" for each in wanted if each.default is each.empty and each.kind is not each.VAR_KEYWORD}


def test_every_method_of_access_control_is_told_that_it_is_off(c: Consul) -> None:
    found = sorted(name for name in c.watched.methods if name.startswith("acl."))
    assert len(found) >= 40
    for name in found:
        method = operator.attrgetter(name)(c)
        with pytest.raises(ACLDisabled, match="ACL support disabled"):
            method(**arguments(method))


def test_every_method_of_the_library_is_shown_or_refused(c: Consul) -> None:
    shown = {name for test in globals().values() if hasattr(test, "shown") for name in test.shown.features}
    told = shown | {refusal.feature for refusal in REFUSED}
    assert {name for name in c.watched.methods if not name.startswith("acl.")} == told


@pytest.mark.parametrize("refusal", REFUSED, ids=lambda refusal: refusal.feature)
def test_what_is_not_there_is_refused_as_the_page_says(c: Consul, refusal: Refusal) -> None:
    try:
        answer = str(refusal.call(c))
    except (ConsulException, RequestException) as error:
        answer = str(error)
    assert refusal.answer in answer
