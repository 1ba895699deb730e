"""Each command against a real HTTP server: what it asks, what it prints, how it exits."""

from __future__ import annotations

import json
import os
import stat
import sys
import types
from pathlib import Path

import pytest

from support.cli_agent import canned_agent, free_port

MEMBER = {
    "Name": "alpha", "Addr": "10.0.0.1", "Port": 8301, "Status": 1, "ProtocolCur": 2,
    "Tags": {"role": "consul", "dc": "dc1", "build": "0.1.0", "vsn": "2"},
}  # fmt: skip
FAILED = {
    "Name": "b",
    "Addr": "::1",
    "Port": 8301,
    "Status": 4,
    "Tags": {"role": "node", "dc": "dc1", "build": "0.1.0"},
}
INTENTION = {
    "ID": "8f246b77-f3e1-ff88-5b48-8ec93abf3e05", "SourceName": "web", "DestinationName": "db", "Action": "deny",
    "Precedence": 9, "Meta": {"team": "shop"}, "CreatedAt": "2026-11-22T21:00:00Z", "Description": "",
}  # fmt: skip
EXACT = "/v1/connect/intentions/exact"


# --- members


def test_members_prints_aligned_columns(agent, run):
    agent.on("GET", "/v1/agent/members", [FAILED, MEMBER])
    code, out, _err = run("members")
    assert code == 0
    assert out.splitlines() == [
        "Node   Address        Status  Type    Build  Protocol  DC",
        "alpha  10.0.0.1:8301  alive   server  0.1.0  2         dc1",
        "b      [::1]:8301     failed  client  0.1.0            dc1",
    ]


def test_members_are_filtered_by_the_agent(agent, run):
    agent.on("GET", "/v1/agent/members", [MEMBER])
    assert run("members", '-filter=Name == "web"')[0] == 0
    assert agent.last.query == {"filter": ['Name == "web"']}


def test_members_detailed_shows_sorted_tags(agent, run):
    agent.on("GET", "/v1/agent/members", [MEMBER])
    assert run("members", "-detailed")[1].splitlines()[1].endswith("alive   build=0.1.0,dc=dc1,role=consul,vsn=2")


def test_members_with_a_status_that_none_has_exits_2(agent, run):
    agent.on("GET", "/v1/agent/members", [MEMBER])
    assert run("members", "-status=left")[:2] == (2, "")
    assert run("members", "-status=a.*")[0] == 0


def test_members_refuses_a_broken_regular_expression(run):
    code, _out, err = run("members", "-status=(")
    assert code == 1
    assert '"(" is not a regular expression' in err


def test_names_from_the_catalog_cannot_steer_the_terminal(agent, run):
    agent.on("GET", "/v1/agent/members", [{**MEMBER, "Name": "a\x1b[2Jb\r\n"}])
    out = run("members")[1]
    assert "\x1b" not in out
    assert "a\N{REPLACEMENT CHARACTER}[2Jb" in out


def test_neither_json_nor_an_agents_error_can_steer_the_terminal(agent, run):
    agent.on("GET", "/v1/agent/members", [{**MEMBER, "Name": "a\x9b2J\u202eb"}])
    out = run("members", "-format=json")[1]
    assert json.loads(out)[0]["Name"] == "a\x9b2J\u202eb"
    assert "\x9b" not in out
    assert "\u202e" not in out
    agent.on("GET", "/v1/agent/members", "no\x1b[2J leader\nsecond line", 500)
    err = run("members")[2]
    assert "\x1b" not in err
    assert err.splitlines()[1].startswith("second line")


# --- catalog


def test_catalog_lists_datacenters_and_services_one_a_line(agent, run):
    agent.on("GET", "/v1/catalog/datacenters", ["dc1", "dc2"])
    agent.on("GET", "/v1/catalog/services", {"web": ["v2", "v1"], "consul": []})
    assert run("catalog", "datacenters")[1] == "dc1\ndc2\n"
    assert run("catalog", "services")[1] == "consul\nweb\n"
    assert run("catalog", "services", "-tags")[1] == "consul  \nweb     v1,v2\n"
    assert json.loads(run("catalog", "services", "-format=json")[1]) == {"web": ["v2", "v1"], "consul": []}


def test_catalog_services_of_a_node(agent, run):
    services = {"web-1": {"Service": "web", "Tags": ["a"]}, "web-2": {"Service": "web", "Tags": ["b"]}}
    agent.on("GET", "/v1/catalog/node/n1", {"Node": {}, "Services": services})
    agent.on("GET", "/v1/catalog/node/n2", None)
    assert run("catalog", "services", "-node=n1", "-tags")[1] == "web  a,b\n"
    code, _out, err = run("catalog", "services", "-node", "n2")
    assert code == 1
    assert 'there is no node "n2"' in err


def test_catalog_nodes_shortens_ids_and_passes_its_filters_on(agent, run):
    node = {
        "Node": "n1",
        "ID": "1b662d97-8b5c-3cc2",
        "Address": "10.4.5.31",
        "Datacenter": "dc1",
        "Meta": {"rack": "2"},
    }
    agent.on("GET", "/v1/catalog/nodes", [node])
    out = run("catalog", "nodes", "-node-meta=rack=2", "-filter=Node == n1", "-datacenter=dc9", "-stale")[1]
    assert out == "Node  ID        Address    DC\nn1    1b662d97  10.4.5.31  dc1\n"
    assert agent.last.query == {"node-meta": ["rack:2"], "filter": ["Node == n1"], "dc": ["dc9"], "stale": ["1"]}
    assert run("catalog", "nodes", "-detailed")[1].splitlines()[1].endswith("dc1  " + " " * 17 + "rack=2")


def test_catalog_nodes_of_a_service_are_listed_once(agent, run):
    row = {"Node": "n1", "ID": "", "Address": "10.4.5.31", "Datacenter": "dc1", "ServiceID": "a", "NodeMeta": {}}
    agent.on("GET", "/v1/catalog/service/web", [row, {**row, "ServiceID": "b"}])
    assert len(run("catalog", "nodes", "-service=web")[1].splitlines()) == 2


def test_an_empty_catalog_says_so(agent, run):
    agent.on("GET", "/v1/catalog/nodes", [])
    assert run("catalog", "nodes")[:2] == (0, "No nodes match the given query - try expanding your search.\n")


# --- services


def test_services_register_by_flags(agent, run):
    agent.on("PUT", "/v1/agent/service/register")
    code, out, _err = run("services", "register", "-name=web", "-port", "8080", "-tag=a", "-tag=b", "-meta=k=v=w")
    assert (code, out) == (0, "Registered service: web\n")
    assert agent.last.body == {"Name": "web", "Port": 8080, "Tags": ["a", "b"], "Meta": {"k": "v=w"}}


def test_services_register_and_deregister_by_file(agent, run, tmp_path):
    file = tmp_path / "web.hcl"
    file.write_text(
        'service { name = "web" port = 80\n check { ttl = "10s" } }\nservices = [ { id = "db/1", name = "db" } ]'
    )
    agent.on("PUT", "/v1/agent/service/register")
    agent.on("PUT", "/v1/agent/service/deregister/web")
    agent.on("PUT", "/v1/agent/service/deregister/db%2F1")
    assert run("services", "register", str(file))[:2] == (0, "Registered service: web\nRegistered service: db\n")
    assert [asked.body for asked in agent.asked] == [
        {"name": "web", "port": 80, "check": {"ttl": "10s"}},
        {"id": "db/1", "name": "db"},
    ]
    assert run("services", "deregister", str(file))[:2] == (
        0,
        "Deregistered service: web\nDeregistered service: db/1\n",
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("service {", "web.hcl:1:10: found the end of the file"),
        ("node_name = 1", "no services"),
        ("service = 3", "web.hcl:1:1: a service must be a block"),
        ('service { name = "web"\n prot = 1 }', "web.hcl:2:2: "),
        ("service { port = 1 }", "web.hcl:1:"),
    ],
)
def test_services_register_says_where_a_file_is_wrong_and_asks_nothing(agent, run, tmp_path, text, said):
    file = tmp_path / "web.hcl"
    file.write_text(text)
    code, _out, err = run("services", "register", str(file))
    assert code == 1
    assert said in err
    assert agent.asked == []


@pytest.mark.parametrize(
    "args",
    [
        ["register"],
        ["register", "web.hcl", "-name=x"],
        ["register", "-name=x", "-port=70000"],
        ["register", "-name=x", "-meta=novalue"],
        ["register", "no-such-file"],
        ["deregister"],
        ["deregister", "web.hcl", "-id=x"],
    ],
)
def test_services_refuses_what_makes_no_sense_before_asking(agent, run, args):
    assert run("services", *args)[0] == 1
    assert agent.asked == []


# --- intentions


def test_intention_create_writes_and_says_so(agent, run):
    agent.on("GET", EXACT, "Intention not found", 404)
    agent.on("PUT", EXACT, "true")
    assert run("intention", "create", "web", "db")[:2] == (0, "Created: web => db (allow)\n")
    assert agent.last.query == {"source": ["web"], "destination": ["db"]}
    assert agent.last.body == {"SourceName": "web", "DestinationName": "db", "Action": "allow"}
    assert run("intention", "create", "-deny", "-meta", "a=b", "-description=no", "web", "*")[1] == (
        "Created: web => * (deny)\n"
    )
    assert agent.last.body["Meta"] == {"a": "b"}


def test_intention_create_does_not_replace_unasked(agent, run):
    agent.on("GET", EXACT, INTENTION)
    agent.on("PUT", EXACT, "true")
    code, _out, err = run("intention", "create", "web", "db")
    assert code == 1
    assert "web => db (deny)" in err
    assert "-replace" in err
    assert "PUT" not in {asked.method for asked in agent.asked}
    assert run("intention", "create", "-replace", "web", "db")[1] == "Updated: web => db (allow)\n"


def test_intention_create_from_files(agent, run, tmp_path):
    agent.on("GET", EXACT, "Intention not found", 404)
    agent.on("PUT", EXACT, "true")
    (tmp_path / "a.json").write_text('{"SourceName": "web", "DestinationName": "db", "Action": "deny"}')
    permissions = (
        'source_name = "a"\ndestination_name = "b"\npermissions = [{action = "allow", http { path_exact = "/" }}]'
    )
    (tmp_path / "b.hcl").write_text(permissions)
    code, out, _err = run("intention", "create", "-file", str(tmp_path / "a.json"), str(tmp_path / "b.hcl"))
    assert (code, out) == (0, "Created: web => db (deny)\nCreated: a => b (1 permission)\n")
    assert agent.last.body == {
        "SourceName": "a", "DestinationName": "b", "Permissions": [{"action": "allow", "http": {"path_exact": "/"}}],
    }  # fmt: skip


@pytest.mark.parametrize(
    "args", [["web"], ["-allow", "-deny", "web", "db"], ["-file"], ["a", "b", "c"], ["-meta=x", "a", "b"]]
)
def test_intention_create_refuses_what_makes_no_sense(agent, run, args):
    agent.on("GET", EXACT, "Intention not found", 404)
    code, out, err = run("intention", "create", *args)
    assert (code, out) == (1, "")
    assert err.startswith("Error: ")
    assert "PUT" not in {asked.method for asked in agent.asked}


@pytest.mark.parametrize(("allowed", "code", "text"), [(True, 0, "Allowed\n"), (False, 1, "Denied\n")])
def test_intention_check_answers_by_its_exit_code(agent, run, allowed, code, text):
    agent.on("GET", "/v1/connect/intentions/check", {"Allowed": allowed})
    assert run("intention", "check", "web", "db") == (code, text, "")


def test_intention_check_exits_2_when_it_cannot_know(agent, run):
    agent.on("GET", "/v1/connect/intentions/check", "No cluster leader", 500)
    code, out, err = run("intention", "check", "web", "db")
    assert (code, out) == (2, "")
    assert "Unexpected response code: 500 (No cluster leader)" in err
    assert run("intention", "check", "web")[0] == 2
    assert run("intention", "check", "web", "db", f"-http-addr=127.0.0.1:{free_port()}")[0] == 2


def test_intention_get_shows_one_by_names_or_id(agent, run):
    agent.on("GET", EXACT, INTENTION)
    agent.on("GET", "/v1/connect/intentions", [INTENTION])
    out = run("intention", "get", "web", "db")[1]
    assert "Source:       web\nDestination:  db\nAction:       deny\n" in out
    assert "Meta[team]:   shop" in out
    assert run("intention", "get", INTENTION["ID"].upper())[1] == out
    assert json.loads(run("intention", "get", "web", "db", "-format=json")[1]) == INTENTION


def test_intention_get_of_none_fails(agent, run):
    agent.on("GET", EXACT, "Intention not found", 404)
    code, _out, err = run("intention", "get", "web", "db")
    assert code == 1
    assert "there is no intention web => db" in err
    assert "takes SOURCE and DESTINATION" in run("intention", "get", "web")[2]


def test_intention_list_match_and_delete(agent, run):
    agent.on("GET", "/v1/connect/intentions", [INTENTION])
    agent.on("GET", "/v1/connect/intentions/match", {"db": [INTENTION]})
    agent.on("GET", EXACT, INTENTION)
    agent.on("DELETE", EXACT, "true")
    heading, row = run("intention", "list")[1].splitlines()
    assert heading.split() == ["ID", "Source", "Action", "Destination", "Precedence"]
    assert row.split() == [INTENTION["ID"], "web", "deny", "db", "9"]
    assert run("intention", "match", "db")[1] == "web => db (deny)\n"
    assert agent.last.query == {"by": ["destination"], "name": ["db"]}
    assert run("intention", "delete", "web", "db")[:2] == (0, "Intention deleted.\n")
    assert run("intention", "delete", INTENTION["ID"])[:2] == (0, "Intention deleted.\n")
    assert agent.last.query == {"source": ["web"], "destination": ["db"]}


def test_an_intention_that_is_not_there_cannot_be_deleted(agent, run):
    agent.on("GET", EXACT, "Intention not found", 404)
    assert run("intention", "delete", "web", "db")[0] == 1
    assert agent.last.method == "GET"


# --- config entries


def test_config_write_sends_the_entry(agent, run, tmp_path):
    file = tmp_path / "web.hcl"
    file.write_text('Kind = "service-defaults"\nName = "web"\nProtocol = "http"')
    agent.on("PUT", "/v1/config", "true")
    assert run("config", "write", str(file))[:2] == (0, "Config entry written: service-defaults/web\n")
    assert agent.last.body == {"Kind": "service-defaults", "Name": "web", "Protocol": "http"}
    assert agent.last.query == {}


def test_config_write_says_what_may_not_be_meant_and_which_file_the_servers_refuse(agent, run, tmp_path):
    file = tmp_path / "web.hcl"
    file.write_text('Kind = "service-defaults"\nName = "web"\nProtocol = "http"')
    agent.on(
        "PUT", "/v1/config/plan", {"Changes": [], "Affected": [], "Refusal": "", "Warnings": ["it may be\x1b[2J odd"]}
    )
    agent.on("PUT", "/v1/config", "true")
    code, out, err = run("config", "write", str(file))
    assert (code, out) == (0, "Config entry written: service-defaults/web\n")
    assert err == "Warning: it may be\ufffd[2J odd\n"
    agent.on("PUT", "/v1/config", "a split of web is in the way", 400)
    code, _out, err = run("config", "write", str(file))
    assert code == 1
    assert err == f"Error: {file}: Unexpected response code: 400 (a split of web is in the way)\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('Kind = "service-defaults"\nNane = "web"', "e.hcl:2:1: "),
        ('Kind = "service-default"\nName = "web"', "e.hcl:1:"),
        ('Name = "web"', "ind"),
        ("", "ind"),
    ],
)
def test_config_write_says_where_a_file_is_wrong_and_asks_nothing(agent, run, tmp_path, text, said):
    (tmp_path / "e.hcl").write_text(text)
    code, _out, err = run("config", "write", str(tmp_path / "e.hcl"))
    assert code == 1
    assert said in err
    assert agent.asked == []


def test_config_write_with_a_lost_race_fails(agent, run, tmp_path):
    file = tmp_path / "web.json"
    file.write_text('{"Kind": "service-defaults", "Name": "web"}')
    agent.on("PUT", "/v1/config", "false")
    code, _out, err = run("config", "write", "-cas", "-modify-index=7", str(file))
    assert code == 1
    assert "not updated: service-defaults/web: it was changed since index 7" in err
    assert agent.last.query == {"cas": ["7"]}
    assert run("config", "write", "-modify-index=7", str(file))[0] == 1


def test_config_read_list_and_delete(agent, run):
    entry = {"Kind": "service-defaults", "Name": "web", "ModifyIndex": 3}
    agent.on("GET", "/v1/config/service-defaults/web", entry)
    agent.on("GET", "/v1/config/service-defaults", [entry])
    agent.on("DELETE", "/v1/config/service-defaults/web", "true")
    assert json.loads(run("config", "read", "-kind=service-defaults", "-name=web")[1]) == entry
    assert run("config", "list", "-kind", "service-defaults")[1] == "web\n"
    assert (
        run("config", "delete", "-kind=service-defaults", "-name=web")[1]
        == "Config entry deleted: service-defaults/web\n"
    )
    agent.on("DELETE", "/v1/config/service-defaults/web", "false")
    assert run("config", "delete", "-kind=service-defaults", "-name=web", "-cas", "-modify-index=2")[0] == 1
    assert agent.last.query == {"cas": ["2"]}


def test_config_read_of_none_gives_the_agents_words(agent, run):
    agent.on("GET", "/v1/config/service-defaults/x", 'Config entry not found for "service-defaults" / "x"', 404)
    code, _out, err = run("config", "read", "-kind=service-defaults", "-name=x")
    assert code == 1
    assert 'Unexpected response code: 404 (Config entry not found for "service-defaults" / "x")' in err


# --- the agent itself


def test_reload_leave_join_and_force_leave(agent, run):
    for path in ("reload", "leave", "force-leave/old", "join/10.0.0.2"):
        agent.on("PUT", f"/v1/agent/{path}")
    agent.on("PUT", "/v1/agent/join/10.0.0.9", "no route", 500)
    assert run("reload")[:2] == (0, "Configuration reload triggered\n")
    assert run("leave")[:2] == (0, "Graceful leave complete\n")
    assert run("force-leave", "-prune", "old")[:2] == (0, "")
    assert agent.last.query == {"prune": ["1"]}
    code, out, err = run("join", "10.0.0.9", "10.0.0.2")
    assert (code, out) == (0, "Successfully joined cluster by contacting 1 nodes.\n")
    assert "Error joining address '10.0.0.9': no route" in err
    assert run("join", "10.0.0.9")[0] == 1


def test_info_prints_sections_as_consul_does(agent, run):
    agent.on("GET", "/v1/agent/self", {"Stats": {"raft": {"term": "2"}, "agent": {"checks": "1", "a": "0"}}})
    assert run("info")[1] == "agent:\n\ta = 0\n\tchecks = 1\nraft:\n\tterm = 2\n"


def test_maint_enables_disables_and_lists(agent, run):
    agent.on("PUT", "/v1/agent/maintenance")
    agent.on("PUT", "/v1/agent/service/maintenance/web")
    checks = {"_service_maintenance:web": {"Notes": "disks"}, "service:web": {"Notes": ""}}
    agent.on("GET", "/v1/agent/checks", checks)
    assert run("maint", "-enable", "-reason=new disks")[1] == "Node maintenance is now enabled\n"
    assert agent.last.query == {"enable": ["true"], "reason": ["new disks"]}
    assert run("maint", "-disable", "-service=web")[1] == 'Service maintenance is now disabled for "web"\n'
    assert run("maint")[1] == "Service:\n  ID:     web\n  Reason: disks\n\n"
    for wrong in (["-enable", "-disable"], ["-reason=x"], ["-disable", "-reason=x"]):
        assert run("maint", *wrong)[0] == 1


def test_monitor_prints_the_stream_and_says_when_it_ends(agent, run):
    agent.on("GET", "/v1/agent/monitor", "line one\nline two\n")
    code, out, err = run("monitor", "-log-level=DEBUG", "-log-json")
    assert (code, out) == (0, "line one\nline two\n")
    assert "ended" in err
    assert agent.last.query == {"loglevel": ["debug"], "logjson": ["true"]}
    assert run("monitor", "-log-level=loud")[0] == 1


def test_operator_raft_list_peers(agent, run):
    peer = {"ID": "i", "Node": "n", "Address": "127.0.0.1:8300", "Leader": True, "Voter": True, "ProtocolVersion": "3"}
    other = {**peer, "ID": "j", "Node": "m", "Leader": False}
    agent.on("GET", "/v1/operator/raft/configuration", {"Servers": [peer, other], "Index": 1})
    head = "Node ID Address State Voter RaftProtocol Commit Index Trails Leader By"

    def listed():
        return [" ".join(line.split()) for line in run("operator", "raft", "list-peers")[1].splitlines()]

    assert listed() == [head, "n i 127.0.0.1:8300 leader true 3 - -", "m j 127.0.0.1:8300 follower true 3 - -"]
    agent.on("GET", "/v1/operator/autopilot/state", {"Servers": {"i": {"LastIndex": 40}, "j": {"LastIndex": 37}}})
    assert listed()[1:] == ["n i 127.0.0.1:8300 leader true 3 40 -", "m j 127.0.0.1:8300 follower true 3 37 3 commits"]


def test_connect_ca_configuration(agent, run, tmp_path):
    path = "/v1/connect/ca/configuration"
    agent.on("GET", path, {"Provider": "consul", "Config": {"LeafCertTTL": "72h"}})
    agent.on("PUT", path)
    assert json.loads(run("connect", "ca", "get-config")[1])["Config"] == {"LeafCertTTL": "72h"}
    file = tmp_path / "ca.json"
    file.write_text('{"Provider": "consul", "Config": {"LeafCertTTL": "24h"}}')
    assert run("connect", "ca", "set-config", "-config-file", str(file))[:2] == (0, "Configuration updated!\n")
    assert agent.last.body == {"Provider": "consul", "Config": {"LeafCertTTL": "24h"}}


# --- connect proxy


@pytest.mark.parametrize(
    "args",
    [
        [],
        ["-sidecar-for=web", "-proxy-id=x"],
        ["-sidecar-for=web", "-upstream=db:1"],
        ["-service=web"],
        ["-service=web", "-listen=:8443"],
        ["-service=web", "-upstream=db"],
        ["-service=web", "-upstream=db:99999"],
    ],
)
def test_connect_proxy_refuses_what_makes_no_sense(agent, run, args, tmp_path):
    (tmp_path / "s").touch()
    agent.on("GET", "/v1/agent/self", {"DebugConfig": {"ProxySocket": str(tmp_path / "s")}})
    code, out, err = run("connect", "proxy", *args)
    assert (code, out) == (1, "")
    assert "chowk connect proxy -help" in err


def test_connect_proxy_for_a_service_registers_a_proxy_that_nobody_dials_and_takes_it_away(
    agent, run, tmp_path, monkeypatch
):
    (tmp_path / "s").touch()
    agent.on("GET", "/v1/agent/self", {"DebugConfig": {"ProxySocket": str(tmp_path / "s")}})
    agent.on("PUT", "/v1/agent/service/register")
    started = []
    proxy = types.SimpleNamespace(run_proxy=lambda *args, manual: started.append((*args, manual)))
    monkeypatch.setitem(sys.modules, "chowk.connect.proxy.main", proxy)
    code, _out, err = run("connect", "proxy", "-service=laptop", "-upstream=db:127.0.0.2:9191")
    registered = agent.asked[1].body
    assert registered["Proxy"] == {
        "DestinationServiceName": "laptop",
        "Upstreams": [{"DestinationName": "db", "LocalBindAddress": "127.0.0.2", "LocalBindPort": 9191}],
    }
    assert registered["Check"]["Status"] == "critical"
    assert started == [(registered["ID"], tmp_path / "s", True)]
    assert agent.last.path == f"/v1/agent/service/deregister/{registered['ID']}"
    assert (code, "404" in err) == (1, True)  # the stand-in knows no such path: a failed deregistration is told


def test_connect_proxy_says_when_there_is_no_sidecar_or_more_than_one(agent, run, tmp_path):
    (tmp_path / "s").touch()
    agent.on("GET", "/v1/agent/self", {"DebugConfig": {"ProxySocket": str(tmp_path / "s")}})
    sidecar = {"Kind": "connect-proxy", "Proxy": {"DestinationServiceID": "web"}}
    agent.on("GET", "/v1/agent/services", {"web": {}, "a": sidecar, "b": sidecar})
    code, _out, err = run("connect", "proxy", "-sidecar-for", "web")
    assert code == 1
    assert "More than one sidecar proxy registered for web" in err
    assert "  a\n  b" in err
    assert (
        'No sidecar proxy registered for db\nThere is no service with the id "db"'
        in (run("connect", "proxy", "-sidecar-for", "db")[2])
    )


def test_connect_proxy_says_when_the_control_socket_cannot_be_opened(agent, run, tmp_path):
    gone = tmp_path / "gone.sock"
    agent.on("GET", "/v1/agent/self", {"DebugConfig": {"ProxySocket": str(gone)}})
    code, _out, err = run("connect", "proxy", "-proxy-id=x")
    assert code == 1
    assert f"cannot reach the agent's proxy socket {gone}: No such file or directory" in err
    assert "on the agent's host" in err
    agent.on("GET", "/v1/agent/self", {"DebugConfig": {"ProxySocket": ""}})
    assert "serves no proxies" in run("connect", "proxy", "-proxy-id=x")[2]


# --- reaching the agent


def test_an_agent_that_is_not_there_is_explained(run):
    port = free_port()
    code, out, err = run("members", f"-http-addr=127.0.0.1:{port}")
    assert (code, out) == (1, "")
    assert f"cannot reach an agent at http://127.0.0.1:{port}: Connection refused" in err
    assert "chowk agent -dev" in err


def test_the_agent_may_be_reached_over_a_unix_socket(run, tmp_path):
    with canned_agent(unix=tmp_path / "api.sock") as agent:
        agent.on("GET", "/v1/catalog/datacenters", ["dc1"])
        assert run("catalog", "datacenters", f"-http-addr=unix://{tmp_path}/api.sock")[:2] == (0, "dc1\n")
    assert "cannot reach an agent at unix://" in run("members", f"-http-addr=unix://{tmp_path}/gone")[2]


@pytest.mark.parametrize(
    "address", ["ftp://x", "http://", "unix://", "127.0.0.1:0", "127.0.0.1:http", "127.0.0.1:99999"]
)
def test_an_address_that_is_none_is_refused(run, address):
    code, _out, err = run("members", f"-http-addr={address}")
    assert code == 1
    assert f'the address "{address}"' in err


def test_the_token_is_taken_from_flag_file_or_environment(agent, run, tmp_path, monkeypatch):
    agent.on("GET", "/v1/catalog/datacenters", [])
    (tmp_path / "token").write_text("from-file\n")

    def token(*args: str) -> str | None:
        assert run("catalog", "datacenters", *args)[0] == 0
        return agent.last.headers.get("X-Consul-Token")

    assert token() is None
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "from-consul")
    assert token() == "from-consul"
    monkeypatch.setenv("CHOWK_HTTP_TOKEN", "from-chowk")
    assert token() == "from-chowk"
    monkeypatch.setenv("CONSUL_HTTP_TOKEN_FILE", str(tmp_path / "token"))
    assert token() == "from-file"
    assert token("-token=from-flag") == "from-flag"
    assert run("catalog", "datacenters", "-token-file=/nowhere")[0] == 1


def test_a_token_with_a_line_break_is_not_sent(agent, run):
    agent.on("GET", "/v1/catalog/datacenters", [])
    code, _out, err = run("catalog", "datacenters", "-token=a\r\nX-Evil: 1")
    assert code == 1
    assert "cannot be sent" in err
    assert agent.asked == []


def test_consul_environment_is_honoured_where_ours_is_not_set(agent, run, monkeypatch):
    agent.on("GET", "/v1/catalog/datacenters", ["dc1"])
    monkeypatch.delenv("CHOWK_HTTP_ADDR")
    monkeypatch.setenv("CONSUL_HTTP_ADDR", agent.address)
    assert run("catalog", "datacenters")[1] == "dc1\n"


def test_a_redirect_is_not_followed_with_the_token(agent, run):
    agent.on("GET", "/v1/catalog/datacenters", "moved", 302)
    assert "Unexpected response code: 302" in run("catalog", "datacenters", "-token=x")[2]


def test_an_answer_that_is_not_json_is_told(agent, run):
    agent.on("GET", "/v1/catalog/datacenters", "<html>")
    code, _out, err = run("catalog", "datacenters")
    assert code == 1
    assert "not JSON" in err


# --- validate and keygen


def test_validate_reads_files_as_an_agent_would(run, tmp_path):
    good = tmp_path / "good.hcl"
    good.write_text('node_name = "n"\nservice { name = "web" port = 80 }')
    assert run("validate", str(good))[:2] == (0, "Configuration is valid!\n")
    assert run("validate", "-quiet", str(tmp_path))[:2] == (0, "")
    bad = tmp_path / "bad.hcl"
    bad.write_text('servise { name = "web" }\nports { http = "x" }')
    code, out, err = run("validate", str(good), str(bad))
    assert (code, out) == (1, "")
    assert "bad.hcl:1:1" in err
    assert "bad.hcl:2:" in err
    code, out, _err = run("validate", "-format=json", str(bad))
    assert code == 1
    assert len(json.loads(out)["Problems"]) == 2
    assert run("validate")[0] == 1
    assert "there is no file or folder" in run("validate", "/no/such/file")[2]


def test_keygen_makes_a_new_key_of_32_bytes_each_time(run):
    first, second = run("keygen")[1], run("keygen")[1]
    assert first != second
    assert len(first.strip()) == 44


def test_a_token_file_may_be_private(agent, run, tmp_path):
    path: Path = tmp_path / "token"
    path.write_text("secret")
    os.chmod(path, stat.S_IRUSR)
    agent.on("GET", "/v1/catalog/datacenters", [])
    assert run("catalog", "datacenters", f"-token-file={path}")[0] == 0
    assert agent.last.headers["X-Consul-Token"] == "secret"
