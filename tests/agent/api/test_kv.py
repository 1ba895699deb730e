"""Keys and sessions over HTTP: any bytes are a key, limits hold while a body arrives, a refusal is no session."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote_from_bytes

from hypothesis import given, settings
from hypothesis import strategies as st

from chowk.agent.api.routes import ROUTES
from chowk.agent.config.model import AgentConfig, LimitsConfig
from chowk.core.commands import CreateSession
from chowk.core.kv_requests import SESSION_WRITE
from chowk.core.records.kv import KEY_BYTES_MAX
from chowk.core.requests import WriteReply
from support.http_api import Api, running_api, with_api, with_registry
from support.server_rig import running_server

ODD = (
    b"",
    b"/",
    b"..",
    b"%2f",
    b"?",
    b"#",
    b"&x=1",
    b"\x00",
    b"\r\n",
    b"\xff",
    b" ",
    b"+",
    b";",
    b"\\",
    "\u0130".encode(),
)
odd_keys = st.one_of(
    st.binary(min_size=1, max_size=40),
    st.lists(st.sampled_from(ODD), min_size=1, max_size=6).map(b"".join).filter(bool),
    st.integers(1, KEY_BYTES_MAX).map(lambda size: b"k" * size),
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(odd_keys, st.sampled_from(("", "/"))), unique_by=lambda row: row[0], min_size=1, max_size=12))
def test_all_that_can_be_seen_is_a_key_however_it_is_escaped(written: list[tuple[bytes, str]]) -> None:
    def seen(key: bytes) -> bool:
        return key.decode("utf-8", "replace").isprintable()

    rows = [(key, safe) for key, safe in written if seen(key)]

    async def body(api: Api) -> None:
        for key, safe in written:
            if not seen(key):
                assert (await api.put(f"/v1/kv/{quote_from_bytes(key, safe=safe)}", data=b"x")).status == 400
        for number, (key, safe) in enumerate(rows):
            answer = await api.put(f"/v1/kv/{quote_from_bytes(key, safe=safe)}", data=b"%d" % number)
            assert (answer.status, answer.json()) == (200, True)
        for number, (key, _safe) in enumerate(rows):
            path = f"/v1/kv/{quote_from_bytes(key, safe='')}"
            assert (await api.get(f"{path}?raw")).body == b"%d" % number
            assert (await api.get(path)).json()[0]["Key"] == key.decode("utf-8", "replace")
        keys = (await api.get("/v1/kv/?keys")).json() if rows else []
        assert keys == [key.decode("utf-8", "replace") for key in sorted(key for key, _safe in rows)]
        for key, _safe in rows:
            prefix = quote_from_bytes(key[:2], safe="")
            under = sum(each.startswith(key[:2]) for each, _safe in rows)
            assert len((await api.get(f"/v1/kv/{prefix}?recurse")).json()) == under
        assert (await api.ask("DELETE", "/v1/kv/?recurse")).json() is True
        assert (await api.get("/v1/kv/?keys")).status == 404

    with TemporaryDirectory() as folder:
        with_registry(Path(folder), body)


NAMES = (
    "keys",
    "recurse",
    "raw",
    "cas",
    "flags",
    "separator",
    "stale",
    "consistent",
    "acquire",
    "release",
    "pretty",
    "wait",
)
VALUES = ("", "0", "-1", "1e9", "9" * 30, "\u0663", "true", "%00", "%ff", "/", "=", "10s", "null")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(("", "=")), st.sampled_from(VALUES)), max_size=4))
def test_no_query_makes_an_error_of_the_server(parts: list[tuple[str, str, str]]) -> None:
    async def body(api: Api) -> None:
        query = "&".join(name + mark + value for name, mark, value in parts)
        for method in ("GET", "PUT", "DELETE"):
            answer = await api.ask(method, f"/v1/kv/a?{query}")
            assert answer.status < 500 or b"invalid session" in answer.body

    with TemporaryDirectory() as folder:
        with_registry(Path(folder), body)


def test_the_limit_of_a_value_is_the_agents_own(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        assert (await api.put("/v1/kv/a", data=b"x" * 10)).json() is True
        answer = await api.put("/v1/kv/a", data=b"x" * 11)
        assert (answer.status, answer.text.split(".")[0]) == (
            413,
            "Request body(11 bytes) too large, max size: 10 bytes",
        )

        async def endless() -> object:
            while True:
                yield b"x" * 6
                await asyncio.sleep(0)

        assert (await api.put("/v1/kv/a", data=endless())).status == 413
        assert (await api.get("/v1/kv/a?raw")).body == b"x" * 10

    with_registry(tmp_path, body, AgentConfig(node_name="n1", limits=LimitsConfig(kv_max_value_size=10)))


def test_a_session_that_was_refused_to_a_write_sent_twice_is_no_session(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(SESSION_WRITE, WriteReply(index=7, ok=False))
        answer = await api.put("/v1/session/create")
        assert (answer.status, b"ID" in answer.body) == (500, False)
        assert answer.text.startswith("The session was refused")
        [(_name, write)] = api.server.calls
        assert isinstance(write.command, CreateSession)
        assert write.command.session.node == "n1"

    with_api(tmp_path, body)


def test_a_lock_delay_is_a_duration_or_seconds_or_nanoseconds_and_a_minute_at_most(tmp_path: Path) -> None:
    async def body(api: Api) -> None:
        api.server.answer(SESSION_WRITE, WriteReply(index=7, ok=True))
        given = ("5s", 5, 5_000_000_000, 0, "0s", "2h", None)
        for value in given:
            assert (await api.put("/v1/session/create", {"LockDelay": value})).status == 200
        asked = [write.command.session.lock_delay_s for _name, write in api.server.calls]
        assert asked == [5.0, 5.0, 5.0, 0.0, 0.0, 60.0, 15.0]
        for wrong in ("-1s", -1, "soon", [], True):
            assert (await api.put("/v1/session/create", {"LockDelay": wrong})).status == 400

    with_api(tmp_path, body)


def test_the_shortest_ttl_of_a_session_is_the_servers_own(tmp_path: Path) -> None:
    async def run() -> None:
        async with (
            running_server(tmp_path, session_ttl_s_min=2.0) as rig,
            running_api(tmp_path, rig, None, ROUTES) as api,
        ):
            await api.put("/v1/catalog/register", {"Node": "n1", "Address": "127.0.0.1"})
            assert (await api.put("/v1/session/create", {"TTL": "2s", "NodeChecks": []})).status == 200
            answer = await api.put("/v1/session/create", {"TTL": "1999ms", "NodeChecks": []})
            assert (answer.status, b"must be between [2s=24h0m0s]" in answer.body) == (400, True)

    asyncio.run(run())
