"""What the registry answers, as typed clients decode it: every field by its name and its JSON type, none more, none missing.

The shapes are those of Consul's own client structs. `T | None` and `OrNull` may be null, where Consul's servers send it; any
other list or map may be empty but is there: a client that ranges over it must not find null where Consul has `[]`.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from support.http_api import Api, with_registry


class OrNull(NamedTuple):
    """The shape, or null."""

    shape: Any


INDEXES: Final = {"CreateIndex": int, "ModifyIndex": int}
STRINGS: Final = {"*": str}
NODE: Final = {
    **INDEXES, "ID": str, "Node": str, "Address": str, "Datacenter": str, "TaggedAddresses": STRINGS, "Meta": STRINGS,
}  # fmt: skip
WEIGHTS: Final = {"Passing": int, "Warning": int}
UPSTREAM: Final = {
    "DestinationType": str, "DestinationNamespace?": str, "DestinationPartition?": str, "DestinationName": str,
    "Datacenter": str, "LocalBindAddress": str, "LocalBindPort": int, "LocalBindSocketPath?": str,
    "LocalBindSocketMode?": str, "Config": dict, "MeshGateway": dict,
}  # fmt: skip
PROXY: Final = {
    "DestinationServiceName": str, "DestinationServiceID": str, "LocalServiceAddress": str, "LocalServicePort": int,
    "LocalServiceSocketPath": str, "Mode": str, "Config": dict, "Upstreams": [UPSTREAM], "MeshGateway": dict,
    "Expose": dict,
}  # fmt: skip
ADDRESS: Final = {"Address": str, "Port": int}
SERVICE: Final = {
    **INDEXES, "Kind": str, "ID": str, "Service": str, "Tags": [str], "Address": str, "TaggedAddresses": {"*": ADDRESS},
    "Meta": STRINGS, "Port": int, "SocketPath": str, "Weights": WEIGHTS, "EnableTagOverride": bool, "Proxy": PROXY,
    "Connect": dict, "Locality": dict | None,
}  # fmt: skip
CATALOG_SERVICE: Final = {
    **INDEXES, "ID": str, "Node": str, "Address": str, "Datacenter": str, "TaggedAddresses": STRINGS, "NodeMeta": STRINGS,
    "ServiceKind": str, "ServiceID": str, "ServiceName": str, "ServiceTags": [str], "ServiceAddress": str,
    "ServiceTaggedAddresses": {"*": ADDRESS}, "ServiceWeights": WEIGHTS, "ServiceMeta": STRINGS, "ServicePort": int,
    "ServiceSocketPath": str, "ServiceEnableTagOverride": bool, "ServiceProxy": PROXY, "ServiceConnect": dict,
}  # fmt: skip
CHECK: Final = {
    **INDEXES, "Node": str, "CheckID": str, "Name": str, "Status": str, "Notes": str, "Output": str, "ServiceID": str,
    "ServiceName": str, "ServiceTags": [str], "Type": str, "Interval": str, "Timeout": str, "ExposedPort": int,
    "Definition": dict,
}  # fmt: skip
ENTRY: Final = {"Node": NODE, "Service": SERVICE, "Checks": [CHECK]}
KEY: Final = {**INDEXES, "LockIndex": int, "Key": str, "Flags": int, "Value": str | None, "Session?": str}
SESSION: Final = {
    **INDEXES, "ID": str, "Name": str, "Node": str, "LockDelay": int, "Behavior": str, "TTL": str,
    "NodeChecks": [str], "ServiceChecks": OrNull([{"ID": str, "Namespace": str}]), "Checks?": [str],
}  # fmt: skip
INTENTION: Final = {
    "ID": str, "Description": str, "SourceNS": str, "SourceName": str, "SourcePartition?": str, "DestinationNS": str,
    "DestinationName": str, "DestinationPartition?": str, "SourceType": str, "Action": str, "Meta?": STRINGS,
    "Precedence": int, "CreatedAt": str, "UpdatedAt": str, **INDEXES, "Hash?": str, "Permissions?": list,
}  # fmt: skip
ROOT: Final = {
    **INDEXES, "ID": str, "Name": str, "SerialNumber": int, "SigningKeyID": str, "ExternalTrustDomain": str,
    "NotBefore": str, "NotAfter": str, "RootCert": str, "IntermediateCerts": [str], "Active": bool, "PrivateKeyType": str,
    "PrivateKeyBits": int, "RotatedOutAt?": str,
}  # fmt: skip
COORDINATE: Final = {
    "Node": str, "Segment": str, "Coord": {"Vec": [float], "Error": float, "Adjustment": float, "Height": float},
}  # fmt: skip
QUERY: Final = {
    **INDEXES, "ID": str, "Name": str, "Session": str, "Token": str, "Template": dict, "DNS": {"TTL": str},
    "Service": {
        "Service": str, "Failover": {"NearestN": int, "Datacenters": OrNull([str]), "Targets?": list | None},
        "OnlyPassing": bool, "IgnoreCheckIDs": OrNull([str]), "Near": str, "Tags": OrNull([str]),
        "NodeMeta": OrNull(STRINGS), "ServiceMeta": OrNull(STRINGS), "Connect": bool,
        "Peer?": str, "SamenessGroup?": str,
    },
}  # fmt: skip

SHAPES: Final[dict[str, Any]] = {
    "/v1/status/leader": str,
    "/v1/status/peers": [str],
    "/v1/catalog/datacenters": [str],
    "/v1/catalog/nodes": [NODE],
    "/v1/catalog/services": {"*": [str]},
    "/v1/catalog/service/web": [CATALOG_SERVICE],
    "/v1/catalog/connect/web": [CATALOG_SERVICE],
    "/v1/catalog/node/n1": {"Node": NODE, "Services": {"*": SERVICE}},
    "/v1/catalog/node-services/n1": {"Node": NODE, "Services": [SERVICE]},
    "/v1/health/service/web": [ENTRY],
    "/v1/health/connect/web": [ENTRY],
    "/v1/health/node/n1": [CHECK],
    "/v1/health/checks/web": [CHECK],
    "/v1/health/state/any": [CHECK],
    "/v1/agent/version": {"SHA": str, "BuildDate": str, "HumanVersion": str, "FIPS": str},
    "/v1/kv/a": [KEY],
    "/v1/kv/?recurse": [KEY],
    "/v1/kv/?keys": [str],
    "/v1/session/list": [SESSION],
    "/v1/session/node/n1": [SESSION],
    "/v1/connect/intentions": [INTENTION],
    "/v1/connect/intentions/exact?source=web&destination=db": INTENTION,
    "/v1/connect/intentions/match?by=destination&name=db": {"*": [INTENTION]},
    "/v1/connect/intentions/check?source=web&destination=db": {"Allowed": bool, "Reason": str},  # the reason: beyond Consul
    "/v1/connect/ca/roots": {"ActiveRootID": str, "TrustDomain": str, "Roots": [ROOT]},
    "/v1/coordinate/nodes": [COORDINATE],
    "/v1/coordinate/node/n1": [COORDINATE],
    "/v1/coordinate/datacenters": [{"Datacenter": str, "AreaID": str, "Coordinates": [COORDINATE]}],
    "/v1/query": [QUERY],
    "/v1/query/find/execute": {
        "Service": str, "Namespace?": str, "Nodes": [ENTRY], "DNS": {"TTL": str}, "Datacenter": str, "Failovers": int,
    },
    "/v1/operator/raft/configuration": {
        "Index": int,
        "Servers": [
            {"ID": str, "Node": str, "Address": str, "Leader": bool, "ProtocolVersion": str, "Voter": bool}
        ],
    },
}  # fmt: skip


def problems(value: Any, shape: Any, at: str) -> list[str]:
    """Where `value` is not of `shape`. A key that ends in `?` may be missing; `*` stands for keys of the user."""
    if isinstance(shape, OrNull):
        return [] if value is None else problems(value, shape.shape, at)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return [f"{at} is {value!r}, no list"]
        return [each for number, item in enumerate(value) for each in problems(item, shape[0], f"{at}[{number}]")]
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return [f"{at} is {value!r}, no object"]
        if "*" in shape:
            return [each for key, item in value.items() for each in problems(item, shape["*"], f"{at}.{key}")]
        known = {key.rstrip("?"): inner for key, inner in shape.items()}
        found = [f"{at}.{key} is missing" for key in shape if not key.endswith("?") and key not in value]
        found += [f"{at}.{key} is not Consul's" for key in value if key not in known]
        return found + [
            each for key, inner in known.items() if key in value for each in problems(value[key], inner, f"{at}.{key}")
        ]
    if shape is int and isinstance(value, bool):
        return [f"{at} is {value!r}, no number"]
    if shape is float and isinstance(value, int) and not isinstance(value, bool):
        return []
    return [] if isinstance(value, shape) else [f"{at} is {value!r}, no {shape}"]


async def fill(api: Api) -> None:
    """Something of everything, with as many fields set as unset."""
    service = {
        "ID": "web-1", "Service": "web", "Tags": ["v1"], "Port": 80, "Meta": {"k": "v"},
        "TaggedAddresses": {"wan": {"Address": "1.2.3.4", "Port": 8080}},
    }  # fmt: skip
    proxy = {"DestinationServiceName": "web", "Upstreams": [{"DestinationName": "db", "LocalBindPort": 9001}]}
    sidecar = {"Kind": "connect-proxy", "Service": "web-sidecar-proxy", "Port": 21000, "Proxy": proxy}
    check = {"Name": "alive", "Status": "passing", "ServiceID": "web-1"}
    coordinate = {"Vec": [0.5] * 8, "Error": 1.5, "Adjustment": 0, "Height": 0.00001}
    for path, body in (
        ("/v1/catalog/register", {"Node": "n1", "Address": "10.0.0.1", "Service": service, "Check": check}),
        ("/v1/catalog/register", {"Node": "n1", "Address": "10.0.0.1", "Service": sidecar}),
        ("/v1/catalog/register", {"Node": "bare", "Address": "10.0.0.2"}),
        ("/v1/session/create", {"Node": "n1", "NodeChecks": [], "Checks": []}),
        ("/v1/connect/intentions/exact?source=web&destination=db", {"Action": "allow"}),
        ("/v1/coordinate/update", {"Node": "n1", "Coord": coordinate}),
    ):
        answer = await api.put(path, body)
        assert answer.status == 200, f"{path}: {answer.text}"
    assert (await api.put("/v1/kv/a", data=b"value")).json() is True
    assert (await api.put("/v1/kv/empty")).json() is True
    query = {"Name": "find", "Service": {"Service": "web"}}
    answer = await api.ask("POST", "/v1/query", json=query)
    assert answer.status == 200, answer.text


def test_every_answer_has_the_fields_and_types_that_typed_clients_expect(tmp_path: Path) -> None:
    async def scene(api: Api) -> None:
        await fill(api)
        found = []
        for path, shape in SHAPES.items():
            answer = await api.get(path)
            assert answer.status == 200, f"{path}: {answer.status} {answer.text}"
            if shape is not str:
                assert answer.json() or path.startswith("/v1/coordinate"), f"{path}: nothing to look at"
            found += problems(answer.json(), shape, path)
        assert not found, "\n".join(found)

    with_registry(tmp_path, scene)


def test_there_are_no_gateways_yet_and_who_waits_for_one_waits(tmp_path: Path) -> None:
    async def scene(api: Api) -> None:
        for path in ("/v1/catalog/gateway-services/edge", "/v1/health/ingress/web"):
            answer = await api.get(path)
            assert (answer.status, answer.json()) == (200, [])
            index = int(answer.headers["X-Consul-Index"])
            again = await api.get(f"{path}?index={index}&wait=50ms")
            assert (again.json(), int(again.headers["X-Consul-Index"])) == ([], index)

    with_registry(tmp_path, scene)


def test_a_transactions_results_and_errors_have_consuls_fields(tmp_path: Path) -> None:
    async def scene(api: Api) -> None:
        value = base64.b64encode(b"x").decode()
        done = await api.put("/v1/txn", [{"KV": {"Verb": "set", "Key": "a", "Value": value}}])
        assert done.status == 200
        assert problems(done.json(), {"Results": [{"KV": KEY}], "Errors": dict | None}, "txn") == []
        lost = await api.put("/v1/txn", [{"KV": {"Verb": "cas", "Key": "a", "Value": value, "Index": 1}}])
        assert lost.status == 409
        assert problems(lost.json(), {"Results": dict | None, "Errors": [{"OpIndex": int, "What": str}]}, "txn") == []

    with_registry(tmp_path, scene)


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        ({"A": None}, {"A": str}),
        ({"A": True}, {"A": int}),
        ({}, {"A": str}),
        ({"A": "", "B": 1}, {"A": str}),
        (None, [str]),
        ([1], [str]),
        ({"x": 1}, {"*": str}),
        ([], {"A": str}),
    ],
)
def test_what_is_not_of_the_shape_is_found(value: Any, shape: Any) -> None:
    assert problems(value, shape, "it")
