"""Certificates rotate under load, and nobody notices: roots twice, intermediates, leaves, with sidecars that join meanwhile.

And what has to be noticed: a root that is trusted no more proves nothing, and a mesh whose certificates have all ended is
brought back by one command.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import ssl
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

from harness.agent import CHOWK, AgentProcess
from harness.app import HttpApp
from harness.callers import Callers
from harness.clock import WallClock
from harness.cluster import Cluster
from harness.hosts import Hosts
from harness.mesh import fetch, mesh_hcl
from harness.ports import free_port
from harness.waiting import eventually

SIGNS_S = 45.0
"""A root is published for 30 s, then signs; the leader looks every 2 s."""
RENEWED_S = 60.0
ENTRIES = """
config_entries { bootstrap = [ { kind = "service-defaults", name = "page", protocol = "http" } ] }
"""


def rotate(agent: AgentProcess, *flags: str) -> str:
    """The id of the new root."""
    done = agent.cli("connect", "ca", "rotate", *flags)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("New root: ")[2].split()[0]


def roots(agent: AgentProcess) -> dict[str, Any]:
    found: dict[str, Any] = agent.get("/v1/connect/ca/roots")
    return found


def phases(agent: AgentProcess) -> dict[str, list[str]]:
    """The rows of `ca status` of each phase, of roots and intermediates."""
    found: dict[str, list[str]] = {}
    lines = agent.cli("connect", "ca", "status").stdout.splitlines()
    at = {name: lines[0].index(name) for name in ("Type", "Name", "Phase", "Ends")}
    for line in lines[1:]:
        if line[at["Type"] :].split()[0] in ("root", "intermediate"):
            found.setdefault(line[at["Phase"] : at["Ends"]].strip(), []).append(line[at["Name"] : at["Phase"]].strip())
    return found


def leaves(agent: AgentProcess) -> dict[str, str]:
    """Since when the leaf of each sidecar is valid."""
    done = agent.cli("connect", "ca", "status", "-format=json")
    return {
        each["Name"]: each["NotBefore"] for each in json.loads(done.stdout)["Certificates"] if each["Type"] == "leaf"
    }


def register(agent: AgentProcess, name: str, app_port: int, upstreams: dict[str, int]) -> None:
    wanted = [{"DestinationName": each, "LocalBindPort": port} for each, port in upstreams.items()]
    sidecar = {"SidecarService": {"Proxy": {"Upstreams": wanted}}}
    agent.put("/v1/agent/service/register", {"Name": name, "Port": app_port, "Connect": sidecar})


def joins(agent: AgentProcess, name: str, app_port: int) -> int:
    """A new service whose sidecar calls both others; its port to `api`."""
    ports = {"api": free_port(), "page": free_port()}
    register(agent, name, app_port, ports)
    for service, port in ports.items():
        eventually(lambda port=port, service=service: fetch(port) == service, f"{name} reaches {service}", 20)
    return ports["api"]


def test_roots_and_intermediates_rotate_twice_under_load_without_a_failed_request(tmp_path: Path) -> None:
    ports = {"api": free_port(), "page": free_port()}
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        HttpApp("page") as page,
        Cluster(tmp_path, servers=3, clients=2, hcl=ENTRIES) as cluster,
    ):
        here, there = cluster["client1"], cluster["client2"]
        register(there, "api", api.port, {})
        register(there, "page", page.port, {})
        register(here, "web", web.port, ports)
        for service, port in ports.items():
            eventually(
                lambda port=port, service=service: fetch(port) == service, f"up\n{here.log()}\n{there.log()}", 30
            )
        first = roots(here)["ActiveRootID"]
        before = {**leaves(here), **leaves(there)}
        assert len(before) == 3

        with Callers({port: service for service, port in ports.items()}) as callers:
            following = rotate(here)
            assert rotate(cluster["server2"]) == following, "asked twice"
            eventually(lambda: "next" in phases(here), "it is published")
            assert roots(here)["ActiveRootID"] == first
            late = joins(here, "late", web.port)
            eventually(lambda: roots(there)["ActiveRootID"] == following, "it signs", SIGNS_S)
            found = eventually(lambda: "vouches" in (seen := phases(here)) and seen, "the first vouches for it")
            assert [len(found[phase]) for phase in ("signs", "rotated out", "vouches")] == [2, 2, 1]
            later = joins(there, "later", web.port)

            leader = cluster.leader()
            assert leader.cli("operator", "raft", "transfer-leader").returncode == 0
            cluster.leader(but=leader)
            eventually(
                lambda: sorted(phases(here)["signs"]) != sorted(found["signs"]), "its own intermediate signs", 20
            )

            last = rotate(there)
            assert last != following
            eventually(lambda: roots(here)["ActiveRootID"] == last, "the second signs", SIGNS_S)
            eventually(
                lambda: all(
                    since > before[name] for name, since in {**leaves(here), **leaves(there)}.items() if name in before
                ),
                "every leaf is new",
                RENEWED_S,
            )
            assert [fetch(port) for port in (late, later)] == ["api", "api"]
            joins(here, "last", web.port)
        assert callers.failures == []
        assert min(callers.calls.values()) > 500, callers.calls
        assert len(callers.calls) == 4
        assert [root["ID"] for root in roots(here)["Roots"]] == [first, following, last]


def shows(agent: AgentProcess, leaf: dict[str, str], folder: Path, place: tuple[str, int]) -> bool:
    """Whether a sidecar takes this leaf, by a real TLS connection to it."""
    path = folder / "leaf.pem"
    path.write_text(leaf["CertPEM"] + leaf["PrivateKeyPEM"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.load_verify_locations(cadata=agent.request("GET", "/v1/connect/ca/roots?pem=true")[2].decode())
    context.load_cert_chain(path)
    try:
        with socket.create_connection(place, 5) as plain, context.wrap_socket(plain) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n")
            return b"200 OK" in tls.recv(4096)
    except OSError:
        return False


def test_a_root_that_is_distrusted_proves_nothing_and_an_emergency_needs_no_certificate(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    with HttpApp("web") as web, HttpApp("api") as api:
        hosts = Hosts(tmp_path, web, api)
        for agent in hosts.cluster.agents.values():
            agent.prefix = clock.prefix
        with hosts:
            server, here, there = hosts.cluster["server1"], hosts.here, hosts.there
            [proxy] = server.get("/v1/health/connect/api")
            place = (there.address, proxy["Service"]["Port"])
            stolen = here.get("/v1/agent/connect/ca/leaf/web")
            assert shows(here, stolen, tmp_path, place)

            # Somebody has the key of the root, and that of the one that waits to sign.
            beside = rotate(here)
            made = rotate(here, "-emergency", "-distrust-old")
            assert made != beside
            eventually(lambda: [root["ID"] for root in roots(there)["Roots"]] == [made], "nothing else is trusted", 10)
            eventually(hosts.flows, f"all leaves are new\n{here.log()}\n{there.log()}", RENEWED_S)
            assert not shows(here, stolen, tmp_path, place)
            fresh = eventually(
                lambda: (leaf := here.get("/v1/agent/connect/ca/leaf/web"))["CertPEM"] != stolen["CertPEM"] and leaf,
                "clients of the API get another leaf",
                90,
            )
            assert shows(here, fresh, tmp_path, place)

            # Years later everything has ended.
            clock.set(timedelta(days=25 * 365))
            last = eventually(lambda: rotate(here, "-emergency", "-distrust-old"), f"another root\n{server.log()}", 30)
            eventually(hosts.flows, f"signed by it\n{server.log()}\n{here.log()}\n{there.log()}", RENEWED_S)
            assert [root["ID"] for root in roots(there)["Roots"]] == [last]
            for agent in (here, there):
                eventually(lambda: agent.cli("connect", "ca", "status").returncode == 0, "all is well", 40)  # noqa: B023


def test_a_root_made_as_the_documentation_says_takes_over_under_load(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "certificates.md").read_text()
    [script] = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    upstream = free_port()
    with (
        HttpApp("web") as web,
        HttpApp("api") as api,
        AgentProcess(tmp_path, mesh_hcl(web.port, api.port, upstream), dev=False) as agent,
    ):
        eventually(lambda: fetch(upstream) == "api", f"up\n{agent.log()}", 20)
        first = roots(agent)["ActiveRootID"]
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "chowk").write_text(f'#!/bin/sh\nexec {shlex.join(CHOWK)} "$@"\n')
        (tmp_path / "bin" / "chowk").chmod(0o755)
        address = f"{agent.address}:{agent.http_port}"
        environment = {
            **os.environ,
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "CHOWK_HTTP_ADDR": address,
        }
        script = script.replace("rm ca.hcl", "cp root.key kept.key\nrm ca.hcl").replace("127.0.0.1:8500", address)
        with Callers({upstream: "api"}) as callers:
            done = subprocess.run(
                ["bash", "-euc", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            assert "Configuration updated!" in done.stdout
            eventually(lambda: roots(agent)["ActiveRootID"] != first, "it signs", SIGNS_S)
            pem = (tmp_path / "root.pem").read_text().strip()
            assert next(root["RootCert"] for root in roots(agent)["Roots"] if root["Active"]).strip() == pem
            since = leaves(agent)
            eventually(
                lambda: all(leaves(agent)[name] > begin for name, begin in since.items()), "new leaves", RENEWED_S
            )
        assert callers.failures == []

        shown = agent.cli("connect", "ca", "get-config").stdout
        key = tmp_path / "kept.key"
        pkcs8 = subprocess.run(["openssl", "pkcs8", "-topk8", "-nocrypt", "-in", key], capture_output=True, text=True)
        bodies = [pem.splitlines()[1] for pem in (key.read_text(), pkcs8.stdout)]
        config = json.loads(shown)["Config"]
        assert config["RootCert"].strip() == pem
        assert "PrivateKey" not in config
        files = [path for path in (*agent.data_dir.rglob("*"), agent.log_path) if path.is_file()]
        holders = [path for path in files if any(body in path.read_text(errors="replace") for body in bodies)]
        assert [path.parent.name for path in holders] == ["ca"], "the key is in its own file alone"
        assert holders[0].stat().st_mode & 0o777 == 0o600

        for wrong, words in (
            ({"RootCert": "x"}, "not a certificate in PEM"),
            ({"PrivateKey": "x"}, "not a private key in PEM"),
            ({"PrivateKeyType": "rsa"}, "EC P-256"),
            ({"Token": "x"}, 'unknown key "Token"'),
        ):
            status, _headers, said = agent.request("PUT", "/v1/connect/ca/configuration", {"Config": wrong})
            assert (status, words in said.decode()) == (400, True), said
        assert json.loads(agent.cli("connect", "ca", "get-config").stdout)["Config"] == config
