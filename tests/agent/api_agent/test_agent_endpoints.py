"""`/v1/agent/*` over real sockets: shapes that Consul's clients decode, error texts, blocking, trust boundaries."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from chowk import __version__
from chowk.agent.config.model import AgentConfig, ChecksConfig
from chowk.agent.local.registrations import Registrations
from chowk.agent.local.state import LocalState
from chowk.agent.log_stream import LINES_MAX, LOG_STREAM
from chowk.core.errors import InvalidRequest
from chowk.core.records.ca import LeafCertificate
from chowk.core.records.config_entry import HttpPermission, Permission
from chowk.core.runtime.clock import SystemClock
from support.agent_api import DOMAIN, NODE, publish_intentions, with_agent
from support.fake_server import until
from support.http_api import Api

WEB = {"Name": "web", "ID": "web-1", "Port": 8080, "Tags": ["v1"], "Check": {"TTL": "30s"}}


def scene(body: Any, tmp_path: Path, **more: Any) -> None:
    with_agent(tmp_path, body, **more)


# --- services


def test_a_registered_service_is_listed_in_consuls_shape(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = await api.put("/v1/agent/service/register", WEB)
        assert (answer.status, answer.body) == (200, b"")
        assert api.context.syncer.count == 1  # type: ignore[union-attr]
        (service,) = (await api.get("/v1/agent/services")).json().values()
        assert service.pop("ContentHash")
        assert service == {
            "ID": "web-1", "Service": "web", "Tags": ["v1"], "Meta": {}, "Port": 8080, "Address": "", "SocketPath": "",
            "TaggedAddresses": {}, "Weights": {"Passing": 1, "Warning": 1}, "EnableTagOverride": False, "Connect": {},
            "CreateIndex": 0, "ModifyIndex": 0, "Datacenter": "dc1",
        }  # fmt: skip

    scene(body, tmp_path)


def test_an_agent_without_services_answers_empty_objects(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        assert (await api.get("/v1/agent/services")).body == b"{}"
        assert (await api.get("/v1/agent/checks")).body == b"{}"

    scene(body, tmp_path)


def test_a_sidecar_is_listed_with_its_proxy_and_gone_with_its_service(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        sidecar = {"SidecarService": {"Proxy": {"Upstreams": [{"DestinationName": "db", "LocalBindPort": 9001}]}}}
        await api.put("/v1/agent/service/register", {"name": "web", "port": 80, "connect": sidecar})
        found = (await api.get("/v1/agent/services")).json()
        assert "Proxy" not in found["web"]
        assert "Kind" not in found["web"]
        proxy = found["web-sidecar-proxy"]
        assert proxy["Kind"] == "connect-proxy"
        assert proxy["Port"] == 21000
        assert proxy["Proxy"]["DestinationServiceID"] == "web"
        assert proxy["Proxy"]["Upstreams"][0]["DestinationName"] == "db"
        only = await api.get("/v1/agent/services?filter=Kind%20==%20%22connect-proxy%22")
        assert list(only.json()) == ["web-sidecar-proxy"]
        assert (await api.put("/v1/agent/service/deregister/web")).status == 200
        assert (await api.get("/v1/agent/services")).json() == {}

    scene(body, tmp_path)


@pytest.mark.parametrize(
    ("service", "text"),
    [
        ({}, "Missing service name"),
        ({"ID": "x"}, "Missing service name"),
        ({"Name": "web", "Port": "x"}, "Request decode failed: port: found"),
        ({"Name": "web", "Port": 70000}, "Request decode failed: port: found the number 70000"),
        ([], "Request decode failed: service: found a list"),
        ({"Name": "web", "Check": {"HTTP": "http://x"}}, "Invalid check: check[0]: interval is missing"),
        ({"Name": "web", "Checks": [{"Name": "x"}]}, "Invalid check: checks[0]: a check must have one of"),
        ({"Name": "web", "Check": {"TTL": "soon"}}, "Request decode failed: check[0].ttl: found"),
        ({"Name": "web", "Address": "0.0.0.0"}, "Invalid service: "),
    ],
)
def test_a_service_that_cannot_be_is_refused_in_consuls_words(tmp_path: Path, service: Any, text: str) -> None:
    async def body(api: Api) -> None:
        answer = await api.put("/v1/agent/service/register", service)
        assert answer.status == 400
        assert answer.text.startswith(text)
        assert not api.context.local.services

    scene(body, tmp_path)


@pytest.mark.parametrize("data", [b"", b"{", b'{"Name": "a", "Name": "b"}', b"\xff\xfe", b"[" * 10_000])
def test_a_body_that_is_no_json_is_refused(tmp_path: Path, data: bytes) -> None:
    async def body(api: Api) -> None:
        for path in ("service/register", "check/register", "check/update/x", "connect/authorize"):
            method = "POST" if path.startswith("connect") else "PUT"
            answer = await api.ask(method, f"/v1/agent/{path}", data=data)
            assert answer.status == 400
            assert answer.text.startswith("Request decode failed: ")

    scene(body, tmp_path)


def test_registering_again_keeps_health_and_replaces_checks_only_when_asked(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/service/register", WEB)
        await api.put("/v1/agent/check/pass/service:web-1")
        await api.put("/v1/agent/service/register", {**WEB, "Check": None, "Tags": ["v2"]})
        checks = (await api.get("/v1/agent/checks")).json()
        assert checks["service:web-1"]["Status"] == "passing"
        assert checks["service:web-1"]["ServiceTags"] == ["v2"]
        await api.put("/v1/agent/service/register?replace-existing-checks=true", {**WEB, "Check": None})
        assert (await api.get("/v1/agent/checks")).json() == {}

    scene(body, tmp_path)


def test_what_was_registered_over_the_api_is_on_disk_before_the_answer(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/service/register", WEB)
        again = LocalState(NODE, SystemClock(), Registrations(tmp_path / "data"), range(21000, 21010))
        again.load((), ())
        assert list(again.services) == ["web-1"]

    scene(body, tmp_path)


@pytest.mark.parametrize(
    "method_path", ["GET service/nope", "PUT service/deregister/nope", "PUT service/maintenance/nope?enable=true"]
)
def test_an_unknown_service_is_404_in_consuls_words(tmp_path: Path, method_path: str) -> None:
    async def body(api: Api) -> None:
        method, path = method_path.split(" ")
        answer = await api.ask(method, f"/v1/agent/{path}")
        assert answer.status == 404
        assert answer.text in (
            "unknown service ID: nope",
            'Unknown service ID "nope". Ensure that the service ID is passed, not the service name.',
        )

    scene(body, tmp_path)


def test_ids_with_slashes_and_blanks_reach_their_service(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/service/register", {"Name": "web", "ID": "a/b c%"})
        assert (await api.get("/v1/agent/service/a%2Fb%20c%25")).json()["ID"] == "a/b c%"
        assert (await api.put("/v1/agent/service/deregister/a/b%20c%25")).status == 200

    scene(body, tmp_path)


# --- hash blocking


def test_a_hash_blocks_until_the_service_changes_and_not_when_another_does(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/service/register", WEB)
        first = await api.get("/v1/agent/service/web-1")
        known = first.headers["X-Consul-ContentHash"]
        assert known == first.json()["ContentHash"]
        assert (await api.get("/v1/agent/service/web-1?hash=other")).headers["X-Consul-ContentHash"] == known
        idle = len(api.context.local._callbacks)
        waiting = asyncio.create_task(api.get(f"/v1/agent/service/web-1?hash={known}&wait=20s"))
        await until(lambda: len(api.context.local._callbacks) == idle + 1)
        await api.put("/v1/agent/service/register", {"Name": "db"})
        await api.get("/v1/agent/services")
        assert not waiting.done()
        await api.put("/v1/agent/service/register", {**WEB, "Port": 9})
        answer = await waiting
        assert answer.json()["Port"] == 9
        assert answer.headers["X-Consul-ContentHash"] != known
        assert len(api.context.local._callbacks) == idle

    scene(body, tmp_path)


def test_a_hash_that_stays_is_answered_when_the_wait_ends(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/service/register", WEB)
        known = (await api.get("/v1/agent/service/web-1")).headers["X-Consul-ContentHash"]
        answer = await api.get(f"/v1/agent/service/web-1?hash={known}&wait=20ms")
        assert answer.headers["X-Consul-ContentHash"] == known

    scene(body, tmp_path)


def test_a_service_that_goes_ends_the_wait_with_404(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/service/register", WEB)
        known = (await api.get("/v1/agent/service/web-1")).headers["X-Consul-ContentHash"]
        idle = len(api.context.local._callbacks)
        waiting = asyncio.create_task(api.get(f"/v1/agent/service/web-1?hash={known}"))
        await until(lambda: len(api.context.local._callbacks) == idle + 1)
        await api.put("/v1/agent/service/deregister/web-1")
        assert (await waiting).status == 404
        assert (await api.get(f"/v1/agent/service/x?hash={known}&wait=1h")).status == 404

    scene(body, tmp_path)


# --- checks, health


def test_ttl_reports_set_status_and_output(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/check/register", {"Name": "mem", "TTL": "30s"})
        await api.put("/v1/agent/check/warn/mem?note=high")
        check = (await api.get("/v1/agent/checks")).json()["mem"]
        assert (check["Status"], check["Output"], check["Type"], check["Node"]) == ("warning", "high", "ttl", "n1")
        await api.put("/v1/agent/check/update/mem", {"Status": "critical", "Output": "full"})
        check = (await api.get("/v1/agent/checks?filter=Status%20==%20critical")).json()["mem"]
        assert check["Output"] == "full"
        for status in ("", "bad"):
            answer = await api.put("/v1/agent/check/update/mem", {"Status": status})
            assert (answer.status, answer.text) == (400, f"Invalid check status: '{status}'")
        assert (await api.put("/v1/agent/check/deregister/mem")).status == 200
        for path in ("deregister", "pass", "fail"):
            answer = await api.put(f"/v1/agent/check/{path}/mem")
            assert answer.status == 404
            assert answer.text.startswith('Unknown check ID "mem"')

    scene(body, tmp_path)


@pytest.mark.parametrize(
    ("check", "text"),
    [
        ({"TTL": "1s"}, "Missing check name"),
        ({"Name": "x"}, "Invalid check: "),
        ({"Name": "x", "HTTP": "http://a", "TTL": "1s", "Interval": "1s"}, "Invalid check: "),
        ({"Name": "x", "TTL": "1s", "ServiceID": "nope"}, 'ServiceID "nope" does not exist'),
        ({"Name": "x", "TTL": "1s", "Status": "bad"}, "Request decode failed: status: found"),
    ],
)
def test_a_check_that_cannot_be_is_refused(tmp_path: Path, check: Any, text: str) -> None:
    async def body(api: Api) -> None:
        answer = await api.put("/v1/agent/check/register", check)
        assert answer.status == 400
        assert answer.text.startswith(text)
        assert not api.context.local.checks

    scene(body, tmp_path)


SCRIPT = {"Name": "x", "Args": ["/bin/true"], "Interval": "10s"}


@pytest.mark.parametrize(
    ("config", "status"),
    [
        (ChecksConfig(), 400),
        (ChecksConfig(enable_local_script_checks=True), 400),
        (ChecksConfig(enable_script_checks=True), 200),
    ],
)
def test_whoever_reaches_the_api_gains_no_shell_unless_the_agent_says_so(
    tmp_path: Path, config: ChecksConfig, status: int
) -> None:
    async def body(api: Api) -> None:
        nested = {"SidecarService": {"Port": 21001, "Checks": [SCRIPT]}}
        for path, sent in (
            ("check/register", SCRIPT),
            ("service/register", {"Name": "a", "Check": SCRIPT}),
            ("service/register", {"Name": "b", "Checks": [{"TTL": "1s"}, SCRIPT]}),
            ("service/register", {"Name": "c", "Port": 80, "Connect": nested}),
        ):
            answer = await api.put(f"/v1/agent/{path}", sent)
            assert answer.status == status, answer.text
            assert status == 200 or answer.text.startswith("Scripts are disabled on this agent")
        assert bool(api.context.local.checks) == (status == 200)

    scene(body, tmp_path, config=AgentConfig(node_name="n1", checks_config=config))


def test_health_of_an_instance_is_a_status_code(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/service/register", WEB)
        await api.put("/v1/agent/service/register", {**WEB, "ID": "web-2"})
        await api.put("/v1/agent/check/pass/service:web-2")
        for verb, code, word in (("fail", 503, "critical"), ("warn", 429, "warning"), ("pass", 200, "passing")):
            await api.put(f"/v1/agent/check/{verb}/service:web-1")
            answer = await api.get("/v1/agent/health/service/id/web-1")
            assert (answer.status, answer.json()["AggregatedStatus"]) == (code, word)
            assert answer.json()["Service"]["ID"] == "web-1"
            assert [check["CheckID"] for check in answer.json()["Checks"]] == ["service:web-1"]
            text = await api.get("/v1/agent/health/service/name/web?format=text")
            assert (text.status, text.text) == (code, word)
        by_name = (await api.get("/v1/agent/health/service/name/web")).json()
        assert [info["Service"]["ID"] for info in by_name] == ["web-1", "web-2"]

    scene(body, tmp_path)


def test_health_of_what_is_not_here_is_404(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        by_id = await api.get("/v1/agent/health/service/id/x")
        assert (by_id.status, by_id.json()["AggregatedStatus"]) == (404, "critical")
        assert (await api.get("/v1/agent/health/service/id/x?format=text")).text == "ServiceId x not found"
        by_name = await api.get("/v1/agent/health/service/name/x")
        assert (by_name.status, by_name.json()) == (404, [])
        assert (await api.get("/v1/agent/health/service/name/x?format=text")).text == "ServiceName x Not Found"

    scene(body, tmp_path)


def test_maintenance_of_a_node_shows_in_every_instance(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/service/register", WEB)
        await api.put("/v1/agent/check/pass/service:web-1")
        assert (await api.put("/v1/agent/maintenance?enable=true&reason=disks")).status == 200
        answer = await api.get("/v1/agent/health/service/id/web-1")
        assert (answer.status, answer.json()["AggregatedStatus"]) == (503, "maintenance")
        assert (await api.get("/v1/agent/checks")).json()["_node_maintenance"]["Notes"] == "disks"
        await api.put("/v1/agent/maintenance?enable=false")
        await api.put("/v1/agent/service/maintenance/web-1?enable=true")
        assert (await api.get("/v1/agent/health/service/id/web-1?format=text")).text == "maintenance"
        for query, text in (("", "Missing value for enable"), ("?enable=maybe", "Invalid value for enable: 'maybe'")):
            answer = await api.put(f"/v1/agent/maintenance{query}")
            assert (answer.status, answer.text) == (400, text)

    scene(body, tmp_path)


# --- the agent


def test_self_has_the_sections_that_clients_decode_and_no_secret(tmp_path: Path) -> None:
    class Proxies:
        control_socket = tmp_path / "proxies.sock"

        def status(self) -> tuple[()]:
            return ()

    async def body(api: Api) -> None:
        api.context.proxies = Proxies()
        api.context.members = lambda: [{"Name": "n1", "Addr": "127.0.0.1", "Port": 8301, "Tags": {"role": "node"}}]
        answer = await api.get("/v1/agent/self")
        found = answer.json()
        assert all(value is None or isinstance(value, dict) for value in found.values())
        assert found["Config"]["NodeName"] == "n1"
        assert (found["Config"]["Version"], found["Config"]["ChowkVersion"]) == ("1.12.0", __version__)
        assert found["Config"]["NodeID"] == NODE.id
        assert found["DebugConfig"]["NodeID"] == NODE.id
        assert found["DebugConfig"]["ProxySocket"] == str(tmp_path / "proxies.sock")
        assert found["Member"]["Name"] == "n1"
        assert found["Stats"]["agent"]["services"] == "0"
        assert all(isinstance(value, str) for section in found["Stats"].values() for value in section.values())
        assert "swordfish" not in answer.text
        assert (await api.get("/v1/agent/members")).json() == api.context.members()
        assert (await api.get("/v1/agent/members?wan=1")).json() == []
        [member] = api.context.members()
        for expression, found in (
            (f'Name == "{member["Name"]}" and Port == 8301', [member]),
            ('Tags["role"] == "consul" or Kept == true', []),
        ):
            assert (await api.get("/v1/agent/members", params={"filter": expression})).json() == found
        assert (await api.get("/v1/agent/members", params={"filter": "Mood == good"})).status == 400
        assert (await api.get("/v1/agent/host")).json()["Host"]["os"] == "linux"

    config = AgentConfig(node_name="n1", node_id=NODE.id, encrypt="swordfish", extra={"acl": {"token": "swordfish"}})
    config = msgspec.structs.replace(
        config, connect=msgspec.structs.replace(config.connect, ca_config={"PrivateKey": "swordfish"})
    )
    scene(body, tmp_path, config=config)


def test_self_answers_when_every_server_is_gone(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.server.close()
        await until(lambda: not api.context.client.connected)
        assert (await api.get("/v1/agent/self")).json()["Stats"]["agent"]["server_connected"] == "false"

    scene(body, tmp_path)


def test_metrics_come_in_consuls_shape_and_for_prometheus(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        await api.put("/v1/agent/service/register", WEB)
        found = (await api.get("/v1/agent/metrics")).json()
        assert set(found) == {"Timestamp", "Gauges", "Points", "Counters", "Samples"}
        gauges = {(gauge["Name"], gauge["Labels"].get("status")): gauge["Value"] for gauge in found["Gauges"]}
        assert gauges["chowk_agent_services", None] == 1
        assert gauges["chowk_agent_checks", "critical"] == 1
        assert gauges["chowk_agent_checks", "passing"] == 0
        answer = await api.get("/v1/agent/metrics?format=prometheus")
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert 'chowk_agent_checks{status="critical"} 1.0' in answer.text

    scene(body, tmp_path)


def test_reload_tells_what_is_wrong_with_the_files(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        calls = []

        async def reload() -> None:
            calls.append("reload")
            if len(calls) > 1:
                raise InvalidRequest("web.hcl:3:1: unknown key")

        api.context.reload = reload
        assert (await api.put("/v1/agent/reload")).status == 200
        answer = await api.put("/v1/agent/reload")
        assert (answer.status, answer.text) == (400, "web.hcl:3:1: unknown key")
        assert (await api.get("/v1/agent/reload")).status == 405

    scene(body, tmp_path)


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("join/10.0.0.1", 501, "cannot join 10.0.0.1: this agent runs without gossip"),
        ("force-leave/nobody", 404, "agent: No node found with name 'nobody'"),
        ("force-leave/n1", 200, ""),
        ("token/agent", 401, "ACL support disabled"),
        ("token/nonsense", 400, 'Token "nonsense" is unknown'),
    ],
)
def test_what_the_cluster_cannot_do_is_said(tmp_path: Path, path: str, status: int, text: str) -> None:
    async def body(api: Api) -> None:
        api.context.members = lambda: [{"Name": "n1"}]
        answer = await api.put(f"/v1/agent/{path}", {"Token": "x"})
        assert (answer.status, answer.text) == (status, text)

    scene(body, tmp_path)


# --- monitor


def test_monitor_streams_lines_of_its_level_and_lets_go_when_the_reader_goes(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        before = structlog.get_config()["processors"]
        url = f"http://127.0.0.1:{api.http.port}/v1/agent/monitor"
        log = structlog.get_logger()
        async with api.session.get(url + "?loglevel=debug&logjson=true") as fine, api.session.get(url) as coarse:
            log.debug("quiet", key=1)
            log.warning("loud\nline", key='a "b"')
            first = json.loads(await fine.content.readline())
            while "key" not in first:  # the agent's own lines come too
                first = json.loads(await fine.content.readline())
            assert (first["@message"], first["@level"], first["key"]) == ("quiet", "debug", 1)
            assert json.loads(await fine.content.readline())["@message"] == "loud\nline"
            line = (await coarse.content.readline()).decode()
            assert "[WARN]" in line
            assert 'loud line key="a \\"b\\""' in line
        await until(lambda: not LOG_STREAM._followers)
        assert structlog.get_config()["processors"] == before

    scene(body, tmp_path)


def test_a_follower_that_does_not_read_loses_lines_and_is_told() -> None:
    async def run() -> None:
        follower = LOG_STREAM.follow("info", json=False, own_level="info")
        assert follower is not None
        try:
            for number in range(LINES_MAX + 7):
                structlog.get_logger().info(f"line {number}")
            lines = (await follower.read()).splitlines()
        finally:
            LOG_STREAM.leave(follower)
        assert len(lines) == LINES_MAX + 1
        assert "[7 log lines dropped" in lines[0]
        assert lines[-1].endswith(f"line {LINES_MAX + 6}")

    asyncio.run(run())


def test_lines_finer_than_the_agents_own_level_reach_followers_only(capsys: pytest.CaptureFixture[str]) -> None:
    async def run() -> None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
        follower = LOG_STREAM.follow("debug", json=False, own_level="info")
        assert follower is not None
        structlog.get_logger().debug("fine")
        structlog.get_logger().info("coarse")
        LOG_STREAM.leave(follower)
        structlog.get_logger().debug("fine again")
        text = await follower.read()
        assert "fine" in text
        assert "fine again" not in text

    try:
        asyncio.run(run())
    finally:
        structlog.reset_defaults()
    out = "".join(capsys.readouterr())
    assert "coarse" in out
    assert "fine" not in out


def test_monitor_refuses_a_level_that_is_none(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = await api.get("/v1/agent/monitor?loglevel=loud")
        assert (answer.status, answer.text) == (400, "Unknown log level: loud")

    scene(body, tmp_path)


# --- connect


def uri(service: str, domain: str = DOMAIN) -> str:
    return f"spiffe://{domain}/ns/default/dc/dc1/svc/{service}"


async def authorize(api: Api, target: str, client: str) -> Any:
    sent = {"Target": target, "ClientCertURI": client, "ClientCertSerial": "04:00"}
    answer = await api.ask("POST", "/v1/agent/connect/authorize", json=sent)
    assert answer.status == 200, answer.text
    return answer.json()


def test_authorize_follows_the_intention_of_highest_precedence(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        allowed = await authorize(api, "db", uri("web"))
        assert allowed["Authorized"] is True
        assert "web => db (allow), precedence 9" in allowed["Reason"]
        assert (await authorize(api, "db", uri("other")))["Authorized"] is False
        unruled = await authorize(api, "cache", uri("web"))
        assert (unruled["Authorized"], "default policy allows" in unruled["Reason"]) == (True, True)

    scene(body, tmp_path, intentions=(("web", "db", "allow"), ("*", "db", "deny")))


def test_authorize_denies_what_an_l7_intention_rules_and_what_the_default_denies(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        permission = Permission(action="allow", http=HttpPermission(path_prefix="/"))
        publish_intentions(api, "db", [("web", "db", "")], permissions=(permission,))
        assert (await authorize(api, "db", uri("web")))["Authorized"] is False
        assert (await authorize(api, "cache", uri("web")))["Authorized"] is False

    scene(body, tmp_path, config=AgentConfig(node_name="n1", default_intention_policy="deny"))


def test_authorize_never_trusts_another_trust_domain(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        answer = await authorize(api, "db", uri("web", "99999999-2222-3333-4444-555555555555.consul"))
        assert answer["Authorized"] is False
        assert "another trust domain" in answer["Reason"]

    scene(body, tmp_path, intentions=(("web", "db", "allow"),))


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        ({"ClientCertURI": uri("web")}, "Target service must be specified"),
        ({"Target": "db"}, "ClientCertURI must be specified"),
        ({"Target": "db", "ClientCertURI": "https://x/"}, "ClientCertURI not a valid Connect identifier"),
        ({"Target": "db", "ClientCertURI": uri("we%62")}, "ClientCertURI not a valid Connect identifier"),
        ({"Target": "db", "ClientCertURI": uri("a/../web")}, "ClientCertURI not a valid Connect identifier"),
        ({"Target": "db", "Extra": 1}, "Request decode failed: "),
    ],
)
def test_authorize_refuses_what_is_no_identity(tmp_path: Path, sent: Any, text: str) -> None:
    async def body(api: Api) -> None:
        answer = await api.ask("POST", "/v1/agent/connect/authorize", json=sent)
        assert answer.status == 400
        assert answer.text.startswith(text)

    scene(body, tmp_path)


def test_roots_are_answered_from_memory_also_without_servers(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        first = await api.get("/v1/agent/connect/ca/roots")
        assert first.json() == {"ActiveRootID": "r", "TrustDomain": DOMAIN, "Roots": []}
        assert first.headers["X-Consul-Index"] == "9"
        assert first.headers["X-Cache"] == "MISS"
        await api.server.close()
        await until(lambda: not api.context.client.connected)
        second = await api.get("/v1/agent/connect/ca/roots")
        assert second.json() == first.json()
        assert second.headers["X-Cache"] == "HIT"
        assert (await api.get("/v1/agent/connect/ca/roots?index=9&wait=10ms")).json() == first.json()

    scene(body, tmp_path)


def test_a_leaf_comes_with_its_key_blocks_and_is_not_to_be_stored(tmp_path: Path) -> None:
    certificate = LeafCertificate(
        serial_number="04", cert_pem="CERT", private_key_pem="KEY", service="web", service_uri=uri("web"),
        valid_after="2026-11-22T00:00:00Z", valid_before="2026-11-25T00:00:00Z", modify_index=12,
    )  # fmt: skip

    class Leaves:
        def __init__(self) -> None:
            self.waited: list[tuple[str, int, float]] = []

        async def leaf(self, service: str) -> LeafCertificate:
            return msgspec.structs.replace(certificate, service=service)

        async def wait_newer(self, service: str, index: int, timeout_s: float) -> LeafCertificate:
            self.waited.append((service, index, timeout_s))
            return certificate

    async def body(api: Api) -> None:
        api.context.leaves = leaves = Leaves()
        answer = await api.get("/v1/agent/connect/ca/leaf/web")
        found = answer.json()
        assert (found["CertPEM"], found["PrivateKeyPEM"], found["Service"]) == ("CERT", "KEY", "web")
        assert (answer.headers["X-Consul-Index"], answer.headers["Cache-Control"]) == ("12", "no-store")
        await api.get("/v1/agent/connect/ca/leaf/web?index=12&wait=7s")
        assert leaves.waited == [("web", 12, 7.0)]
        assert (await api.get("/v1/agent/connect/ca/leaf/a%2Fb")).status == 400
        assert (await api.get("/v1/agent/connect/ca/leaf/")).text == "Missing service name"

    scene(body, tmp_path)
