from __future__ import annotations

import pytest

from chowk.agent.config.host import Host, this_host
from chowk.agent.config.sockaddr import expand

HOST = Host(
    name="h",
    interfaces=(
        ("eth0", "10.1.2.3"),
        ("eth0", "fd00::3"),
        ("eth1", "192.168.7.1"),
        ("eth1", "8.8.4.4"),
        ("lo", "127.0.0.1"),
    ),
)

GIVEN = {
    "10.0.0.1": "10.0.0.1",
    "{{ GetPrivateIP }}": "10.1.2.3",
    "{{GetPublicIP}}": "8.8.4.4",
    '{{ GetInterfaceIP "eth1" }}': "192.168.7.1",
    "{{ GetInterfaceIP `eth1` }}": "192.168.7.1",
    '{{ GetInterfaceIPs "eth0" }}': "10.1.2.3 fd00::3",
    "{{ GetPrivateIPs }}": "10.1.2.3 fd00::3 192.168.7.1",
    '127.0.0.1 {{ GetInterfaceIP "eth0" }}': "127.0.0.1 10.1.2.3",
    "{{ GetPrivateIP }} {{ GetPublicIP }}": "10.1.2.3 8.8.4.4",
    '{{ GetAllInterfaces | include "name" "^eth1$" | attr "address" }}': "192.168.7.1",
    '{{ GetAllInterfaces | include "network" "192.168.0.0/16" | attr "address" }}': "192.168.7.1",
    '{{ GetAllInterfaces | exclude "name" "eth" | attr "address" }}': "127.0.0.1",
    '{{ GetAllInterfaces | include "flags" "forwardable|up" | include "type" "IPv6" | attr "address" }}': "fd00::3",
    '{{ GetPrivateInterfaces | exclude "type" "ipv6" | join "address" " " }}': "10.1.2.3 192.168.7.1",
    '{{ GetPrivateInterfaces | sort "-address" | include "type" "ipv4" | limit 1 | attr "address" }}': "192.168.7.1",
    '{{ GetPrivateInterfaces | offset 2 | attr "address" }}': "192.168.7.1",
    '{{ GetDefaultInterfaces | include "type" "IPv4" | attr "address" }}': "10.1.2.3",
    '{{ GetPublicInterfaces | attr "name" }}': "eth1",
    '{{ GetAllInterfaces | include "rfc" "6890" | include "flag" "loopback" | join "address" "," }}': "",
}


@pytest.mark.parametrize("text", [text for text, address in GIVEN.items() if address])
def test_a_template_gives_the_addresses_of_the_host(text: str) -> None:
    assert expand(text, HOST) == GIVEN[text]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ GetPrivateIp }}", 'function "GetPrivateIp" is not known; use GetPrivateIP'),
        ("{{ }}", "is not known; use"),
        ("{{ GetPrivateIP", "does not end"),
        ("{{ GetAllInterfaces }}", 'ends in interfaces; add | attr "address"'),
        ('{{ GetPrivateIP | attr "address" }}', "nothing can follow an address"),
        ('{{ GetAllInterfaces | include "name" "(" | attr "address" }}', 'include "name" "("'),
        ('{{ GetAllInterfaces | include "network" "10.0.0.0/99" | attr "address" }}', "10.0.0.0/99"),
        ('{{ GetAllInterfaces | include "colour" "red" | attr "address" }}', "is not known"),
        ('{{ GetAllInterfaces | limit many | attr "address" }}', '"limit many" is not known'),
        ('{{ GetInterfaceIP "eth9" }}', "this host has eth0 10.1.2.3"),
        ("{{ GetAllInterfaces " + "| unique 1 " * 20 + "}}", "is not known"),
        (
            '{{ GetAllInterfaces | include "flag" "loopback" | include "rfc" "1918" | attr "address" }}',
            "no address for",
        ),
    ],
)
def test_a_template_that_gives_none_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError) as caught:
        expand(text, HOST)
    assert reason in str(caught.value)


def test_a_host_without_addresses_has_none_to_give() -> None:
    with pytest.raises(ValueError, match="this host has none"):
        expand('{{ GetDefaultInterfaces | attr "address" }}', Host(name="h"))


def test_this_host_knows_its_loopback_address() -> None:
    assert expand(
        '{{ GetAllInterfaces | include "flags" "loopback" | include "type" "IPv4" | attr "address" }}', this_host()
    )
