"""`keyring`, `event` and what `members` says of kept ones, against a real HTTP server."""

from __future__ import annotations

KEY = "MTExMTExMTExMTExMTExMTExMTExMTExMTExMTExMTE="
RING = {
    "WAN": False, "Datacenter": "dc1", "Segment": "", "Keys": {KEY: 3, "b2xk": 2}, "PrimaryKeys": {KEY: 3}, "NumNodes": 3,
    "Messages": {"n3": "no answer: TimeoutError"},
}  # fmt: skip
PATH = "/v1/operator/keyring"


def test_keyring_list_shows_each_key_with_how_many_have_it(agent, run):
    agent.on("GET", PATH, [RING])
    code, out, err = run("keyring", "-list")
    assert code == 0
    assert out.splitlines() == [
        "==> Gathering installed encryption keys...",
        "",
        "dc1 (LAN):",
        f"  {KEY} [3/3]",
        "  b2xk [2/3]",
    ]
    assert "n3: no answer" in err
    assert run("keyring", "-list-primary", "-local-only")[1].splitlines()[3:] == [f"  {KEY} [3/3]"]
    assert agent.last.query == {"local-only": ["1"]}


def test_keyring_changes_are_sent_as_consul_does(agent, run):
    for flag, method in (("-install", "POST"), ("-use", "PUT"), ("-remove", "DELETE")):
        agent.on(method, PATH)
        code, out, _err = run("keyring", f"{flag}={KEY}")
        assert code == 0
        assert out.startswith("==> ")
        assert KEY not in out
        assert (agent.last.method, agent.last.body) == (method, {"Key": KEY})


def test_keyring_takes_one_action_and_tells_the_agents_reason(agent, run):
    assert run("keyring")[0] == 1
    assert "single action" in run("keyring", "-list", f"-use={KEY}")[2]
    assert "-local-only" in run("keyring", f"-use={KEY}", "-local-only")[2]
    agent.on("PUT", PATH, "nothing was changed: n2: it does not hold the key", 500)
    code, _out, err = run("keyring", f"-use={KEY}")
    assert code == 1
    assert "n2: it does not hold the key" in err


def test_event_sends_the_payload_as_it_is_and_prints_the_id(agent, run):
    agent.on("PUT", "/v1/event/fire/deploy", {"ID": "b54fe110-7af5-cafc-d1fb-afc8ba432b1c"})
    code, out, _err = run("event", "-name=deploy", "-service=web", "-tag=v1", '"1.4.2"')
    assert (code, out) == (0, "Event ID: b54fe110-7af5-cafc-d1fb-afc8ba432b1c\n")
    assert (agent.last.body, agent.last.query) == ("1.4.2", {"service": ["web"], "tag": ["v1"]})
    assert run("event", "payload")[0] == 1


def test_members_detailed_says_who_is_kept_alive_on_purpose(agent, run):
    member = {"Name": "b", "Addr": "10.0.0.2", "Port": 8301, "Status": 1, "Tags": {"role": "node"}, "Kept": True}
    agent.on("GET", "/v1/agent/members", [member])
    assert run("members", "-detailed")[1].splitlines()[1].endswith("alive   kept=true,role=node")


def test_force_leave_of_one_that_is_alive_says_that_it_stays(agent, run):
    agent.on("PUT", "/v1/agent/force-leave/b", "b is alive")
    assert run("force-leave", "b") == (0, "", "b is alive\n")
