"""Keys, sessions and locks of a real agent, field by field, as curl and py-consul see them."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import threading
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote_from_bytes

import pytest
from consul import Consul

from harness.agent import AgentProcess
from harness.raw_http import Answer, ask
from harness.waiting import eventually

VALUE_BYTES_MAX = 512 * 1024


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    with AgentProcess(tmp_path_factory.mktemp("kv")) as made:
        yield made


def put(agent: AgentProcess, key: str, value: bytes = b"", query: str = "") -> bool:
    answer = ask(agent, "PUT", f"/v1/kv/{key}{query}", value)
    assert answer.status == 200, answer
    return answer.json() is True


def make_session(agent: AgentProcess, **fields: Any) -> str:
    return str(agent.put("/v1/session/create", {"LockDelay": "0s", **fields})["ID"])


def test_a_key_shows_every_field_and_truthful_headers(agent: AgentProcess) -> None:
    assert ask(agent, "PUT", "/v1/kv/field/a?flags=18446744073709551615", b"\x00\xffv").body.strip() == b"true"
    answer = ask(agent, "GET", "/v1/kv/field/a")
    [row] = answer.json()
    assert row == {
        "LockIndex": 0,
        "Key": "field/a",
        "Flags": 2**64 - 1,
        "Value": base64.b64encode(b"\x00\xffv").decode(),
        "CreateIndex": row["CreateIndex"],
        "ModifyIndex": row["CreateIndex"],
    }
    assert answer.index == row["ModifyIndex"]
    assert answer.headers["Content-Type"].startswith("application/json")
    assert (answer.headers["X-Consul-KnownLeader"], answer.headers["X-Consul-LastContact"]) == ("true", "0")
    raw = ask(agent, "GET", "/v1/kv/field/a?raw")
    assert (raw.body, raw.headers["Content-Type"]) == (b"\x00\xffv", "application/octet-stream")
    assert (raw.headers["X-Content-Type-Options"], raw.headers["Content-Security-Policy"]) == ("nosniff", "sandbox")
    head = ask(agent, "HEAD", "/v1/kv/field/a")
    assert (head.status, head.body, head.index) == (200, b"", answer.index)
    assert int(head.headers["Content-Length"]) == len(answer.body)
    put(agent, "field/empty")
    assert ask(agent, "GET", "/v1/kv/field/empty").json()[0]["Value"] is None


def test_a_missing_key_is_404_without_a_body_and_can_be_waited_for(agent: AgentProcess) -> None:
    for path in ("/v1/kv/none", "/v1/kv/none?raw", "/v1/kv/none?recurse", "/v1/kv/none?keys"):
        answer = ask(agent, "GET", path)
        assert (answer.status, answer.body) == (404, b"")
        assert answer.index >= 1


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "", 400, "Missing key name"),
        ("PUT", "", 400, "Missing key name"),
        ("DELETE", "", 400, "Missing key name"),
        ("PUT", "x?cas=one", 400, "Invalid cas value"),
        ("DELETE", "x?cas=-1", 400, "Invalid cas value"),
        ("PUT", "x?flags=-1", 400, "Invalid flags"),
        ("PUT", "x?flags=18446744073709551616", 400, "Invalid flags"),
        ("PUT", "x?cas=0&acquire=y", 400, "Conflicting flags"),
        ("PUT", "x?acquire=y&release=y", 400, "Conflicting flags"),
        ("DELETE", "x?recurse&cas=1", 400, "Conflicting flags"),
        ("PUT", "x?acquire=", 400, "Missing session"),
        ("PUT", "x?acquire=11111111-1111-1111-1111-111111111111", 500, 'invalid session "11111111-1111'),
        ("GET", "x?index=one", 400, "Invalid index"),
        ("GET", "x?wait=soon", 400, "Invalid wait time"),
        ("PUT", "k" * 4097, 400, "Key is too long"),
        ("POST", "x", 405, ""),
    ],
)
def test_what_is_wrong_is_refused_in_consuls_words(
    agent: AgentProcess, method: str, path: str, status: int, text: str
) -> None:
    answer = ask(agent, method, f"/v1/kv/{path}", b"v" if method == "PUT" else None)
    assert answer.status == status, answer
    assert text in answer.body.decode()
    assert ask(agent, "GET", "/v1/kv/x").status == 404


def test_a_value_may_be_512_kilobytes_and_not_a_byte_more(agent: AgentProcess) -> None:
    value = os.urandom(VALUE_BYTES_MAX)
    put(agent, "large", value)
    assert ask(agent, "GET", "/v1/kv/large?raw").body == value
    answer = ask(agent, "PUT", "/v1/kv/larger", value + b"x")
    assert answer.status == 413
    assert answer.body.startswith(b"Request body(524289 bytes) too large, max size: 524288 bytes.")
    assert ask(agent, "GET", "/v1/kv/larger").status == 404


def test_compare_and_set_has_one_winner_of_many_at_once(agent: AgentProcess) -> None:
    assert put(agent, "cas", b"1", "?cas=0")
    assert not put(agent, "cas", b"2", "?cas=0")
    index = ask(agent, "GET", "/v1/kv/cas").index
    won: list[bool] = []
    threads = [
        threading.Thread(target=lambda number=number: won.append(put(agent, "cas", b"by %d" % number, f"?cas={index}")))
        for number in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    assert ask(agent, "DELETE", f"/v1/kv/cas?cas={index}").json() is False
    newer = ask(agent, "GET", "/v1/kv/cas").index
    assert ask(agent, "DELETE", f"/v1/kv/cas?cas={newer}").json() is True
    assert ask(agent, "GET", "/v1/kv/cas").status == 404


ODD_KEYS = (
    b"..", b"../../../etc/passwd", b"/", b"//a//", b"a/./b", b"a%2fb", b"a b+c&d=e;f", b"#?",
    b"\xff\xfe", "schl\u00fcssel/\U0001f511".encode(), b"'\"<script>", b"%", b"k" * 4096,
)  # fmt: skip


@pytest.mark.parametrize("key", ODD_KEYS, ids=[repr(key[:12]) for key in ODD_KEYS])
def test_a_key_is_its_bytes_whatever_they_are(agent: AgentProcess, key: bytes) -> None:
    path = "/v1/kv/" + quote_from_bytes(key, safe="")
    assert ask(agent, "PUT", path, key).json() is True
    assert ask(agent, "GET", path + "?raw").body == key
    assert ask(agent, "GET", path).json()[0]["Key"] == key.decode("utf-8", "replace")
    written = ask(agent, "GET", "/v1/kv/?keys").json()
    assert key.decode("utf-8", "replace") in written
    assert ask(agent, "DELETE", path).json() is True
    assert ask(agent, "GET", path).status == 404


@pytest.mark.parametrize("key", [b"\x00", b"a\r\nX-Evil: 1", b"\x1b[2Ja"])
def test_a_key_that_nobody_sees_is_refused(agent: AgentProcess, key: bytes) -> None:
    answer = ask(agent, "PUT", "/v1/kv/" + quote_from_bytes(key, safe=""), b"x")
    assert answer.status == 400
    assert b"unprintable" in answer.body


@pytest.mark.parametrize("path", ["a/../b", "./c", "d//e", "/f", "..", "g%2Fh", "i;j", "k+l"])
def test_a_path_that_is_not_tidy_is_the_key_as_it_stands(agent: AgentProcess, path: str) -> None:
    put(agent, path, path.encode())
    assert ask(agent, "GET", f"/v1/kv/{path}").json()[0]["Key"] == path.replace("%2F", "/")
    assert ask(agent, "DELETE", f"/v1/kv/{path}").json() is True


def test_lists_recurse_cut_at_separators_and_delete(agent: AgentProcess) -> None:
    for key in ("tree/a", "tree/b/1", "tree/b/2", "tree/c/", "treetop"):
        put(agent, key, key.encode())
    rows = ask(agent, "GET", "/v1/kv/tree/?recurse").json()
    assert [row["Key"] for row in rows] == ["tree/a", "tree/b/1", "tree/b/2", "tree/c/"]
    assert ask(agent, "GET", "/v1/kv/tree/?keys&separator=/").json() == ["tree/a", "tree/b/", "tree/c/"]
    assert ask(agent, "GET", "/v1/kv/tree?keys&separator=/").json() == ["tree/", "treetop"]
    assert len(ask(agent, "GET", "/v1/kv/tree?keys").json()) == 5
    assert ask(agent, "DELETE", "/v1/kv/tree/?recurse").json() is True
    assert ask(agent, "GET", "/v1/kv/tree?keys").json() == ["treetop"]
    assert ask(agent, "DELETE", "/v1/kv/tree/?recurse").json() is True, "nothing to delete is deleted"


def test_a_list_of_many_pages_is_one_answer_with_headers(agent: AgentProcess) -> None:
    rows = [{"key": f"many/{number:05}", "flags": 0, "value": "eA=="} for number in range(2500)]
    connection = http.client.HTTPConnection(agent.address, agent.http_port, timeout=20)
    for row in rows:
        connection.request("PUT", f"/v1/kv/{row['key']}", b"x" * 1000)
        assert connection.getresponse().read().strip() == b"true"
    answer = ask(agent, "GET", "/v1/kv/many/?recurse")
    found = answer.json()
    assert [row["Key"] for row in found] == [row["key"] for row in rows]
    assert answer.index == max(row["ModifyIndex"] for row in found)
    assert answer.headers["X-Consul-KnownLeader"] == "true"
    assert answer.headers["Content-Type"].startswith("application/json")
    keys = ask(agent, "GET", "/v1/kv/many/?keys")
    assert (keys.json(), keys.index) == ([row["key"] for row in rows], answer.index)
    connection.request("HEAD", "/v1/kv/many/?recurse")
    head = connection.getresponse()
    assert (head.status, head.read(), head.headers["X-Consul-Index"]) == (200, b"", str(answer.index))
    connection.request("GET", "/v1/kv/many/00001?raw")
    assert connection.getresponse().read() == b"x" * 1000, "nothing of a body follows the answer to a HEAD"
    connection.close()
    pretty = ask(agent, "GET", "/v1/kv/many/?recurse&pretty")
    assert pretty.json() == found
    assert pretty.body == json.dumps(found, indent=4).encode() + b"\n"
    stale = ask(agent, "GET", "/v1/kv/many/?keys&stale")
    assert stale.headers["X-Consul-Effective-Consistency"] == "stale"
    assert ask(agent, "DELETE", "/v1/kv/many/?recurse").json() is True
    assert ask(agent, "GET", "/v1/kv/many/?recurse").status == 404


class Watcher:
    """A blocking query in a thread of its own."""

    def __init__(self, agent: AgentProcess, path: str, wait: str = "10s") -> None:
        first = ask(agent, "GET", path)
        mark = "&" if "?" in path else "?"
        self.index, self.answer = first.index, Answer(0, {}, b"")
        self.path = f"{path}{mark}index={first.index}&wait={wait}"
        self._agent = agent
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        self.answer = ask(self._agent, "GET", self.path)

    def is_waiting(self, seconds: float = 0.15) -> bool:
        self._thread.join(seconds)
        return self._thread.is_alive()

    def woken(self) -> Answer:
        """Its answer, which must come well before the wait is over."""
        began = time.monotonic()
        self._thread.join(5)
        assert not self._thread.is_alive(), f"not woken: {self.path}"
        assert time.monotonic() - began < 3
        assert self.answer.index > self.index
        return self.answer


def test_watchers_are_woken_by_what_they_watch_and_nothing_else(agent: AgentProcess) -> None:
    put(agent, "wa/1", b"1")
    prefix, key, missing = (Watcher(agent, path) for path in ("/v1/kv/wa/?recurse", "/v1/kv/wa/1", "/v1/kv/wa/2"))
    put(agent, "wb/1", b"1")
    put(agent, "w", b"1")
    ask(agent, "DELETE", "/v1/kv/wb/?recurse")
    put(agent, "wa/1", b"1")  # which is what it holds already
    assert prefix.is_waiting()
    assert key.is_waiting(0.01)
    assert missing.is_waiting(0.01)
    put(agent, "wa/2", b"2")
    assert [row["Key"] for row in prefix.woken().json()] == ["wa/1", "wa/2"]
    assert missing.woken().json()[0]["Value"] == "Mg=="
    assert key.is_waiting(0.05)
    names, key2 = Watcher(agent, "/v1/kv/wa/?keys"), Watcher(agent, "/v1/kv/wa/2")
    ask(agent, "DELETE", "/v1/kv/wa/2")
    assert names.woken().json() == ["wa/1"]
    assert key2.woken().status == 404
    empty, gone = Watcher(agent, "/v1/kv/wa/?recurse"), Watcher(agent, "/v1/kv/wa/3")
    ask(agent, "DELETE", "/v1/kv/w?recurse")
    assert empty.woken().status == 404
    assert key.woken().status == 404
    assert gone.is_waiting()
    put(agent, "wa/3", b"3")
    assert gone.woken().status == 200
    began = time.monotonic()
    again = Watcher(agent, "/v1/kv/wa/3", wait="300ms")
    while again.is_waiting(1):
        assert time.monotonic() - began < 3
    assert again.answer.index == again.index, "a wait that is over tells the same index"


def test_a_session_shows_every_field(agent: AgentProcess) -> None:
    agent.put("/v1/agent/check/register", {"Name": "dep", "CheckID": "dep", "TTL": "60s", "Status": "passing"})
    eventually(lambda: [row for row in agent.get("/v1/health/node/host1") if row["CheckID"] == "dep"], "the check")
    body = {"Name": "s", "LockDelay": "3s", "Behavior": "delete", "TTL": "30s", "NodeChecks": ["serfHealth", "dep"]}
    id = agent.put("/v1/session/create", body)["ID"]
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", id)
    [row] = agent.get(f"/v1/session/info/{id}")
    assert row == {
        "ID": id,
        "Name": "s",
        "Node": "host1",
        "LockDelay": 3_000_000_000,
        "Behavior": "delete",
        "TTL": "30s",
        "NodeChecks": ["serfHealth", "dep"],
        "ServiceChecks": None,
        "CreateIndex": row["CreateIndex"],
        "ModifyIndex": row["CreateIndex"],
    }
    assert row in agent.get("/v1/session/list")
    assert row in agent.get("/v1/session/node/HOST1")
    assert agent.get("/v1/session/node/other") == []
    assert agent.put(f"/v1/session/renew/{id}") == [row]
    watcher = Watcher(agent, f"/v1/session/info/{id}")
    assert put(agent, "mine", b"x", f"?acquire={id}")
    assert watcher.is_waiting()
    agent.put("/v1/agent/check/fail/dep")
    assert watcher.woken().json() == [], "its check is critical: it ends"
    assert ask(agent, "GET", "/v1/kv/mine").status == 404, "and takes its keys with it"
    answer = ask(agent, "PUT", f"/v1/session/renew/{id}")
    assert (answer.status, answer.body.decode()) == (404, f"Session id '{id}' not found")
    assert agent.put(f"/v1/session/destroy/{id}") is True
    refused = ask(agent, "PUT", "/v1/session/create", json.dumps({"NodeChecks": ["dep"]}).encode())
    assert (refused.status, refused.body) == (500, b"Check 'dep' is in critical state")
    agent.put("/v1/agent/check/deregister/dep")


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ({"Node": "nobody"}, 500, "Missing node registration"),
        ({"NodeChecks": ["no"]}, 500, "Missing check 'no' registration"),
        ({"TTL": "9s"}, 400, "Invalid Session TTL '9s', must be between [10s=24h0m0s]"),
        ({"TTL": "25h"}, 400, "Invalid Session TTL"),
        ({"TTL": "soon"}, 400, "Session TTL 'soon' invalid"),
        ({"Behavior": "explode"}, 400, "Invalid Behavior setting 'explode'"),
        ({"LockDelay": "-1s"}, 400, ""),
        ({"Nonsense": 1}, 400, "Request decode failed"),
        ([], 400, "Request decode failed"),
    ],
)
def test_a_session_that_cannot_be_is_refused(agent: AgentProcess, body: Any, status: int, text: str) -> None:
    before = agent.get("/v1/session/list")
    answer = ask(agent, "PUT", "/v1/session/create", json.dumps(body).encode())
    assert answer.status == status, answer
    assert text in answer.body.decode()
    assert agent.get("/v1/session/list") == before


def test_a_lock_passes_from_hand_to_hand_and_its_delay_is_kept(agent: AgentProcess) -> None:
    first, second = make_session(agent), make_session(agent, LockDelay=1)
    assert put(agent, "lock", b"1", f"?acquire={first}")
    assert not put(agent, "lock", b"2", f"?acquire={second}")
    row = ask(agent, "GET", "/v1/kv/lock").json()[0]
    assert (row["Session"], row["LockIndex"], row["Value"]) == (first, 1, "MQ==")
    watcher = Watcher(agent, "/v1/kv/lock")
    agent.put(f"/v1/session/destroy/{first}")
    assert "Session" not in watcher.woken().json()[0]
    assert put(agent, "lock", b"2", f"?acquire={second}"), "this one's delay is zero"
    agent.put(f"/v1/session/destroy/{second}")
    third, began = make_session(agent), time.monotonic()
    assert not put(agent, "lock", b"3", f"?acquire={third}")
    eventually(lambda: put(agent, "lock", b"3", f"?acquire={third}"), "the lock after its delay", 5)
    assert 0.5 < time.monotonic() - began < 3
    assert put(agent, "lock", b"4", f"?release={third}")
    assert not put(agent, "lock", b"5", f"?release={third}")
    assert ask(agent, "GET", "/v1/kv/lock?raw").body == b"4"


def test_py_consul_drives_keys_sessions_and_locks(agent: AgentProcess) -> None:
    client = Consul(host=agent.address, port=agent.http_port)
    assert client.kv.put("py/a", "1", flags=7)
    index, row = client.kv.get("py/a")
    assert (row["Value"], row["Flags"], row["ModifyIndex"]) == (b"1", 7, int(index))
    assert client.kv.put("py/b/c", b"\x00\xff", cas=0)
    assert not client.kv.put("py/b/c", "2", cas=0)
    assert client.kv.get("py/", keys=True, separator="/")[1] == ["py/a", "py/b/"]
    assert [each["Value"] for each in client.kv.get("py/", recurse=True)[1]] == [b"1", b"\x00\xff"]
    assert client.kv.get("py/none")[1] is None
    session = client.session.create("py", lock_delay=1, ttl=10, behavior="delete")
    other = client.session.create("other")
    assert client.kv.put("py/lock", "me", acquire=session)
    assert not client.kv.put("py/lock", "me", acquire=other)
    assert client.session.renew(session)["TTL"] == "10s"
    assert {each["ID"] for each in client.session.list()[1]} >= {session, other}
    assert client.session.info(session)[1]["Name"] == "py"
    assert client.session.node("host1")[1]
    assert client.session.destroy(session)
    assert client.kv.get("py/lock")[1] is None
    index, _row = client.kv.get("py/a")
    assert client.kv.get("py/a", index=index, wait="50ms")[0] == index
    assert client.kv.delete("py/", recurse=True)
    assert client.kv.get("py/", recurse=True)[1] is None
