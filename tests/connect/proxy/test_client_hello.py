"""A ClientHello with a session is told from one without, and rubbish from both."""

from __future__ import annotations

import contextlib
import ssl
import time
from functools import cache

from hypothesis import given
from hypothesis import strategies as st

from chowk.connect.ca.keys import key_pem, make_csr, make_key
from chowk.connect.proxy.client_hello import offers_session
from chowk.connect.proxy.credentials import Credentials, make_credentials
from chowk.connect.proxy.renewal import HeldLeaf
from support.mesh_rig import MeshCA


def credentials() -> Credentials:
    ca, key = MeshCA(), make_key()
    leaf = ca.authority.sign_leaf(ca.identity("web"), make_csr(key, "web"), time.time(), 600.0)
    held = HeldLeaf(service="web", trust_domain="", root_id="", valid_from_s=0, valid_until_s=0, renew_at_s=0)
    return make_credentials(held, leaf.cert_pem, key_pem(key), ca.roots)


@cache
def hellos() -> tuple[bytes, bytes]:
    """What a client says first, and what it says when it comes again with the session of the first time."""
    both = credentials()
    first = b""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = both.client.wrap_bio(to_client, to_server)
    server = both.server.wrap_bio(to_server, to_client, server_side=True)
    for end in (client, server, client, server):
        with contextlib.suppress(ssl.SSLWantReadError):
            end.do_handshake()
        if not first:
            first = to_server.read()
            to_server.write(first)
    with contextlib.suppress(ssl.SSLWantReadError):
        client.read(1)
    again = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        both.client.wrap_bio(ssl.MemoryBIO(), again, session=client.session).do_handshake()
    return first, again.read()


def test_a_session_that_is_offered_is_seen():
    first, again = hellos()
    assert not offers_session(first)
    assert offers_session(again)


@given(st.data())
def test_a_part_of_the_message_offers_nothing(data):
    again = hellos()[1]
    assert not offers_session(again[: data.draw(st.integers(0, len(again) - 1))])


@given(st.binary(max_size=600))
def test_rubbish_offers_nothing(rubbish):
    assert not offers_session(rubbish) or rubbish[0] == 22


@given(st.data())
def test_a_message_damaged_anywhere_is_read_to_an_end(data):
    damaged = bytearray(hellos()[1])
    damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    assert offers_session(bytes(damaged)) in (True, False)
