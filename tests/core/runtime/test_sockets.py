"""Binding says who holds a port."""

from __future__ import annotations

import os
import socket

import pytest

from chowk.core.runtime.sockets import PortTaken, bind_tcp, bind_udp, is_taken


@pytest.mark.parametrize(("bind", "kind"), [(bind_tcp, socket.SOCK_STREAM), (bind_udp, socket.SOCK_DGRAM)])
def test_a_taken_port_names_its_purpose_and_its_holder(bind: object, kind: socket.SocketKind) -> None:
    holder = socket.socket(socket.AF_INET, kind)
    holder.bind(("127.0.0.1", 0))
    if kind == socket.SOCK_STREAM:
        holder.listen()
    port = holder.getsockname()[1]
    with pytest.raises(
        PortTaken, match=rf"the test: (tcp|udp) port {port} on 127.0.0.1 is taken by .+ \(pid {os.getpid()}\)"
    ):
        bind("127.0.0.1", port, "the test")  # type: ignore[operator]
    holder.close()


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot bind tcp 192\.0\.2\.1:1"):
        bind_tcp("192.0.2.1", 1, "the test")


def test_a_port_that_somebody_listens_on_is_taken_and_no_other() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        assert is_taken("127.0.0.1", port)
    assert not is_taken("127.0.0.1", port)
    assert not is_taken("192.0.2.1", port)
