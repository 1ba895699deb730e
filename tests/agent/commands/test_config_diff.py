"""`chowk config diff`, `-dry-run`, `-force` and `chowk validate` of config entries."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from chowk.agent.commands.config_plan import FieldChange, field_changes

PATH = "/v1/config/plan"
OLD = {"Kind": "service-defaults", "Name": "web", "Protocol": "tcp", "CreateIndex": 4, "ModifyIndex": 9}
NEW = {"Kind": "service-defaults", "Name": "web", "Protocol": "http", "CreateIndex": 0, "ModifyIndex": 0}
NOTHING = {"Changes": [], "Affected": [], "Refusal": ""}
CHANGE = {
    "Changes": [{"Kind": "service-defaults", "Name": "web", "Old": OLD, "New": NEW}],
    "Affected": [{"Service": "web", "Instances": 1, "Sidecars": 3}, {"Service": "*", "Instances": 9, "Sidecars": 8}],
    "Refusal": "",
}
FILE = 'Kind = "service-defaults"\nName = "web"\nProtocol = "http"\n'


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "web.hcl"
    path.write_text(FILE)
    return str(path)


def test_what_nobody_may_mean_is_a_warning(agent, run, file):
    agent.on("PUT", PATH, {**CHANGE, "Warnings": ["subset gone of web matches none of its 2 instances in the mesh"]})
    _code, out, _err = run("config", "diff", file)
    assert out.endswith("Warning: subset gone of web matches none of its 2 instances in the mesh\n")


def test_a_diff_shows_each_value_and_who_is_affected_and_exits_1(agent, run, file):
    agent.on("PUT", PATH, CHANGE)
    code, out, err = run("config", "diff", file)
    assert (code, err) == (1, "")
    assert out == (
        "service-defaults/web changes, from index 9 (-cas -modify-index=9)\n"
        '  ~ Protocol: "tcp" -> "http"\n'
        "Affected:\n"
        "  web: 1 instance in the mesh, dialled by 3 sidecars\n"
        "  every service: 8 sidecars in all\n"
    )
    assert agent.last.body == [{"Kind": "service-defaults", "Name": "web", "Protocol": "http"}]


def test_a_diff_without_changes_exits_0(agent, run, file):
    agent.on("PUT", PATH, NOTHING)
    assert run("config", "diff", file) == (0, "No changes.\n", "")


def test_a_diff_for_scripts_names_paths_and_values(agent, run, file):
    agent.on("PUT", PATH, CHANGE)
    code, out, _err = run("config", "diff", "-format=json", file)
    assert code == 1
    assert json.loads(out)["Changes"] == [
        {
            "Kind": "service-defaults",
            "Name": "web",
            "ModifyIndex": 9,
            "Fields": [{"Path": "Protocol", "Old": "tcp", "New": "http"}],
        }
    ]


def test_what_the_servers_would_refuse_exits_2_as_does_any_error(agent, run, file, tmp_path):
    agent.on("PUT", PATH, {**CHANGE, "Refusal": 'service "web" does not have a subset named "v2"'})
    code, out, err = run("config", "diff", file)
    assert (code, "~ Protocol" in out) == (2, True)
    assert 'the servers would refuse this:\nservice "web" does not have a subset named "v2"' in err
    assert run("config", "diff", str(tmp_path / "none.hcl"))[0] == 2
    (tmp_path / "bad.hcl").write_text('Kind = "service-defaults"\nNme = "web"')
    code, _out, err = run("config", "diff", str(tmp_path / "bad.hcl"))
    assert (code, "bad.hcl:2:1: unknown key" in err) == (2, True)


def test_a_dry_run_writes_nothing_and_fails_only_when_the_write_would(agent, run, file):
    agent.on("PUT", PATH, CHANGE)
    assert run("config", "write", "-dry-run", file)[0] == 0
    agent.on("PUT", PATH, {**CHANGE, "Refusal": "no"})
    assert run("config", "write", "-dry-run", file)[0] == 1
    assert {asked.path for asked in agent.asked} == {PATH}


def test_files_with_bootstrap_entries_are_compared_too(agent, run, tmp_path):
    path = tmp_path / "server.hcl"
    path.write_text(f'server = true\nconfig_entries {{\n  bootstrap = [ {{\n{FILE}}}, {{ Kind = "mesh" }} ]\n}}\n')
    agent.on("PUT", PATH, NOTHING)
    assert run("config", "diff", str(path))[0] == 0
    assert [entry["Kind"] for entry in agent.last.body] == ["service-defaults", "mesh"]
    path.write_text("server = true")
    assert "no config entry" in run("config", "diff", str(path))[2]


def fault(percent, hours):
    expires = (datetime.now(UTC) + timedelta(hours=hours)).isoformat()
    return (
        'Kind = "service-router"\nName = "web"\nRoutes = [{ Destination { Fault {\n'
        f'Delay {{ Percent = {percent} Duration = "5s" }}\nExpires = "{expires}"\n}} }} }}]\n'
    )


def test_force_is_told_to_the_agent_and_needed_for_a_fault_over_its_guard(agent, run, tmp_path):
    path = tmp_path / "router.hcl"
    path.write_text(fault(100, 1))
    agent.on("PUT", "/v1/config", "true")
    code, _out, err = run("config", "write", str(path))
    assert code == 1
    assert (
        f"{path}:4:19: service-router.routes[0].destination.fault.delay.percent: 100 percent is over max_percent" in err
    )
    assert agent.asked == []
    assert run("config", "write", "-force", str(path))[0] == 0
    assert agent.last.query == {"force": ["true"]}
    path.write_text(fault(100, 30))
    code, _out, err = run("config", "write", "-force", str(path))
    assert (code, "more than 24h away" in err) == (1, True)


@pytest.mark.parametrize(("text", "code"), [(fault(1, 1), 0), (fault(100, 1), 1), (fault(1, 30), 1), (fault(1, -1), 1)])
def test_validate_judges_files_of_config_entries_and_of_bootstrap(run, tmp_path, text, code):
    (tmp_path / "entry.hcl").write_text(text)
    (tmp_path / "server.hcl").write_text(f"server = true\nconfig_entries {{ bootstrap = [ {{\n{text} }} ] }}\n")
    assert run("validate", str(tmp_path / "entry.hcl"))[0] == code
    found, _out, err = run("validate", str(tmp_path / "server.hcl"))
    assert found == code
    assert not code or "server.hcl:" in err


ONE = {"Match": {"HTTP": {"PathPrefix": "/a"}}}
TWO = {"Match": {"HTTP": {"PathPrefix": "/b"}}, "Destination": {"NumRetries": 1}}


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ({"Meta": {"a": "1"}}, {"Meta": {"a": "1"}, "ModifyIndex": 7}, []),
        ({}, {"Meta": {"a": "1"}}, [FieldChange("Meta.a", None, "1")]),
        ({"Routes": [ONE]}, {"Routes": [TWO, ONE]}, [
            FieldChange("Routes[0].Match.HTTP.PathPrefix", None, "/b"),
            FieldChange("Routes[0].Destination.NumRetries", None, 1),
        ]),
        ({"Routes": [ONE, TWO]}, {"Routes": [ONE]}, [
            FieldChange("Routes[1].Match.HTTP.PathPrefix", "/b", None),
            FieldChange("Routes[1].Destination.NumRetries", 1, None),
        ]),
        ({"Sources": [{"Name": "a", "Action": "deny"}, {"Name": "b", "Action": "deny"}]},
         {"Sources": [{"Name": "b", "Action": "allow"}, {"Name": "a", "Action": "deny"}]},
         [FieldChange('Sources["b"].Action', "deny", "allow")]),
        ({"Subsets": {"v1": {}}}, {"Subsets": {}}, [FieldChange("Subsets.v1", {}, None)]),
        ({}, {"Expose": {}, "MeshGateway": {}}, []),
        ({"MeshGateway": {}}, {"MeshGateway": {"Mode": "none"}}, [FieldChange("MeshGateway.Mode", None, "none")]),
        ({"Enabled": True}, {"Enabled": False}, [FieldChange("Enabled", True, False)]),
    ],
)  # fmt: skip
def test_values_that_differ_are_named_by_their_path(old, new, found):
    assert field_changes(old, new) == found
