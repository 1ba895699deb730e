"""gRPC through the mesh, by grpcio: every shape of call, trailers and deadlines, intentions on live streams, the end of an
instance; and agents' gRPC checks of such a service.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from harness.agent import AgentProcess
from harness.grpc_app import GrpcApp, call
from harness.mesh import sidecar_ports
from harness.ports import free_port
from harness.waiting import eventually

READY_S = 20


def hcl(upstream: int, *apps: GrpcApp) -> str:
    low, high = sidecar_ports()
    services = "\n".join(
        f"""
        services {{
          id = "{app.name}", name = "api", port = {app.port}
          connect {{ sidecar_service {{ }} }}
          checks = [ {{ id = "{app.name}-up", grpc = "127.0.0.1:{app.port}", interval = "200ms", timeout = "2s" }} ]
        }}
        """
        for app in apps
    )
    return f"""
    ports {{ sidecar_min_port = {low}, sidecar_max_port = {high} }}
    config_entries {{ bootstrap = [ {{ kind = "service-defaults", name = "api", protocol = "grpc" }} ] }}
    services {{
      name = "web", port = {free_port()}
      connect {{ sidecar_service {{ proxy {{ upstreams = [
        {{ destination_name = "api", local_bind_port = {upstream} }}
      ] }} }} }}
    }}
    {services}
    """


def channel_to(port: int) -> grpc.Channel:
    """A channel that looks again soon, as a patient client would be set up."""
    options = [
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 200),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.insecure_channel(f"127.0.0.1:{port}", options)


def test_every_shape_of_call_passes_with_its_trailers_errors_and_deadlines(tmp_path: Path) -> None:
    upstream = free_port()
    with GrpcApp("api-1") as app, AgentProcess(tmp_path, hcl(upstream, app)) as agent, channel_to(upstream) as channel:
        who = call(channel, "Who")
        assert who(b"", wait_for_ready=True, timeout=READY_S) == b"api-1", agent.log()

        big = bytes(range(256)) * 4096
        answer, told = call(channel, "Echo").with_call(big, timeout=10)
        assert answer == big
        assert dict(told.trailing_metadata())["length"] == str(len(big))
        counted = list(call(channel, "Count", "unary_stream")(b"2000", timeout=20))
        assert counted == [str(number).encode() for number in range(2000)]
        sent = (bytes(65536) for _ in range(100))
        assert call(channel, "Sum", "stream_unary")(sent, timeout=20) == str(100 * 65536).encode()
        said = [f"word {number}".encode() for number in range(500)]
        assert list(call(channel, "Chat", "stream_stream")(iter(said), timeout=20)) == [each.upper() for each in said]

        with pytest.raises(grpc.RpcError) as refused:
            call(channel, "Fail")(b"", timeout=10)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert refused.value.details() == "not now: § 7"
        with pytest.raises(grpc.RpcError) as late:
            call(channel, "Sleep")(b"", timeout=0.3)
        assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(grpc.RpcError) as missing:
            call(channel, "Nobody")(b"", timeout=10)
        assert missing.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert who(b"", timeout=10) == b"api-1", "the channel lives on"


def test_a_deny_ends_live_streams_and_an_allow_lets_the_same_channel_in_again(tmp_path: Path) -> None:
    upstream = free_port()
    with GrpcApp("api-1") as app, AgentProcess(tmp_path, hcl(upstream, app)) as agent, channel_to(upstream) as channel:
        who = call(channel, "Who")
        assert who(b"", wait_for_ready=True, timeout=READY_S) == b"api-1", agent.log()
        go_on = threading.Event()

        def words() -> Iterator[bytes]:
            yield b"one"
            go_on.wait(30)

        stream = call(channel, "Chat", "stream_stream")(words(), timeout=60)
        assert next(stream) == b"ONE"
        assert agent.cli("intention", "create", "-deny", "web", "api").returncode == 0
        with pytest.raises(grpc.RpcError) as cut:
            next(stream)
        go_on.set()
        assert cut.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.RpcError) as refused:
            who(b"", timeout=10)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        assert agent.cli("intention", "delete", "web", "api").returncode == 0
        assert who(b"", wait_for_ready=True, timeout=READY_S) == b"api-1"


def test_checks_ask_the_health_service_and_who_is_not_serving_or_gone_is_called_no_more(tmp_path: Path) -> None:
    upstream = free_port()
    with GrpcApp("api-1") as one, GrpcApp("api-2") as two, AgentProcess(tmp_path, hcl(upstream, one, two)) as agent:

        def answers() -> set[bytes]:
            """Who answers on new connections: each is given to one instance."""
            found = set()
            for _ in range(12):
                with channel_to(upstream) as channel:
                    found.add(call(channel, "Who")(b"", wait_for_ready=True, timeout=READY_S))
            return found

        eventually(lambda: len(agent.passing("api")) == 2, f"both are serving\n{agent.log()}", READY_S)
        eventually(lambda: answers() == {b"api-1", b"api-2"}, "both are called", READY_S)
        one.healthy = False
        eventually(lambda: len(agent.passing("api")) == 1, "who is not serving does not pass", READY_S)
        eventually(lambda: answers() == {b"api-2"}, "nor is it called", READY_S)
        one.healthy = True
        eventually(lambda: answers() == {b"api-1", b"api-2"}, "it is called again", READY_S)
        with channel_to(upstream) as channel:
            first = call(channel, "Who")(b"", wait_for_ready=True, timeout=READY_S)
            gone, other = (one, two) if first == b"api-1" else (two, one)
            gone.server.stop(0).wait()
            again = call(channel, "Who")(b"", wait_for_ready=True, timeout=READY_S)
            assert again == other.name.encode(), "the same channel finds the other instance"
