"""Random commands and logs for the state store: everything that may reach `apply`, sensible or not."""

from __future__ import annotations

from hypothesis import strategies as st

from chowk.core.commands import (
    AnyCommand,
    CreateSession,
    DeleteConfigEntry,
    DeleteIntention,
    DeleteKey,
    DeleteKeys,
    DeletePreparedQuery,
    Deregister,
    DestroySession,
    Envelope,
    PutKey,
    Register,
    SetAutopilot,
    SetCAConfiguration,
    SetCARoots,
    SetPreparedQuery,
    SetSystemMetadata,
    Transaction,
    UpdateCoordinates,
    UpsertConfigEntry,
    UpsertIntention,
)
from chowk.core.records.ca import CAConfiguration, CARoot
from chowk.core.records.check import HealthCheck
from chowk.core.records.config_entry import (
    KINDS,
    HttpPermission,
    Permission,
    ProxyDefaults,
    ServiceDefaults,
    ServiceIntentions,
    SourceIntention,
)
from chowk.core.records.coordinate import Coordinate, NodeCoordinate
from chowk.core.records.mesh import Mesh
from chowk.core.records.node import Node
from chowk.core.records.operation import (
    CATALOG_VERBS,
    KEY_READS,
    KEY_WRITES,
    CheckOperation,
    KeyOperation,
    NodeOperation,
    ServiceOperation,
)
from chowk.core.records.prepared_query import NAME_PREFIX_MATCH, PreparedQuery, QueryService, QueryTemplate
from chowk.core.records.resolver import ResolverRedirect, ServiceResolver, Subset
from chowk.core.records.router import Route, RouteDestination, RouteMatch, ServiceRouter
from chowk.core.records.service import ConnectProxy, NodeService, ServiceConnect
from chowk.core.records.session import BEHAVIORS, ServiceCheck, Session
from chowk.core.records.splitter import ServiceSplitter, Split
from chowk.core.records.traffic import HttpMatch
from chowk.core.server_options import Autopilot

NAMES = ("web", "Web", "db", "cache", "*")
NODE_NAMES = ("n1", "N1", "n2", "n3")
IDS = ("s1", "s2", "s3")
CHECK_IDS = ("c1", "c2", "_node_maintenance", "_service_maintenance:s1")
KEYS = (b"a", b"a/", b"a/b", b"a/b/c", b"b", b"\xff")
PREFIXES = (b"", *KEYS)
SESSION_IDS = ("k1", "k2", "k3")
UUIDS = ("", "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222")

nodes = st.builds(
    Node, node=st.sampled_from(NODE_NAMES), id=st.sampled_from(UUIDS), address=st.sampled_from(("127.0.0.1", "::1", ""))
)
services = st.builds(
    NodeService,
    id=st.sampled_from(IDS),
    service=st.sampled_from(NAMES),
    kind=st.sampled_from(("", "connect-proxy")),
    tags=st.lists(st.sampled_from(("a", "b", "a")), max_size=3).map(tuple),
    port=st.integers(0, 2),
    address=st.sampled_from(("", "127.0.0.2")),
    proxy=st.builds(ConnectProxy, destination_service_name=st.sampled_from((*NAMES, ""))),
    connect=st.builds(ServiceConnect, native=st.booleans()),
)
checks = st.builds(
    HealthCheck,
    node=st.sampled_from(NODE_NAMES),
    check_id=st.sampled_from(CHECK_IDS),
    service_id=st.sampled_from(("", *IDS)),
    status=st.sampled_from(("passing", "warning", "critical", "nonsense")),
)
sources = st.builds(
    SourceIntention,
    name=st.sampled_from(NAMES),
    action=st.sampled_from(("allow", "deny", "")),
    permissions=st.sampled_from(((), (Permission(action="deny", http=HttpPermission(path_exact="/x")),))),
)
cas = st.sampled_from((None, None, 0, 1, 2, 3, 5, 8))
config_entries = st.one_of(
    st.builds(ServiceIntentions, name=st.sampled_from(NAMES), sources=st.lists(sources, max_size=3).map(tuple)),
    st.builds(ServiceDefaults, name=st.sampled_from(NAMES), protocol=st.sampled_from(("", "tcp", "http"))),
    st.builds(ProxyDefaults, name=st.just("global"), mode=st.sampled_from(("", "direct"))),
    st.builds(
        ServiceResolver,
        name=st.sampled_from(NAMES),
        default_subset=st.sampled_from(("", "v1")),
        subsets=st.sampled_from(({}, {"v1": Subset(filter="(")})),
        redirect=st.none() | st.builds(ResolverRedirect, service=st.sampled_from(NAMES)),
        connect_timeout=st.sampled_from(("", "5s", "nonsense")),
    ),
    st.builds(
        ServiceRouter,
        name=st.sampled_from(NAMES),
        routes=st.lists(
            st.builds(
                Route,
                match=st.none() | st.just(RouteMatch(http=HttpMatch(path_regex="("))),
                destination=st.none() | st.builds(RouteDestination, service=st.sampled_from(NAMES)),
            ),
            max_size=2,
        ).map(tuple),
    ),
    st.builds(
        ServiceSplitter,
        name=st.sampled_from(NAMES),
        splits=st.lists(
            st.builds(Split, weight=st.sampled_from((-1.0, 0.0, 100.0)), service=st.sampled_from(NAMES)), max_size=2
        ).map(tuple),
    ),
    st.builds(Mesh, name=st.sampled_from(NAMES), allowed_regions=st.sampled_from(((), ("eu",)))),
)
roots = st.builds(
    CARoot,
    id=st.sampled_from(("r1", "r2")),
    name=st.just("root"),
    serial_number=st.integers(0, 2**62),
    signing_key_id=st.just(""),
    external_trust_domain=st.just(""),
    not_before=st.just(""),
    not_after=st.just(""),
    root_cert_pem=st.just(""),
    active=st.booleans(),
)
sessions = st.builds(
    Session,
    id=st.sampled_from(SESSION_IDS),
    node=st.sampled_from(NODE_NAMES),
    lock_delay_s=st.sampled_from((0.0, 15.0, 1e300)),
    behavior=st.sampled_from((*BEHAVIORS, "nonsense")),
    ttl=st.sampled_from(("", "10s", "nonsense")),
    node_checks=st.lists(st.sampled_from(CHECK_IDS), max_size=2).map(tuple),
    service_checks=st.lists(st.builds(ServiceCheck, id=st.sampled_from(CHECK_IDS)), max_size=1).map(tuple),
)
puts = st.builds(
    PutKey,
    key=st.sampled_from(KEYS),
    value=st.sampled_from((b"", b"x", b"\xff")),
    flags=st.sampled_from((0, 2**64 - 1)),
    cas=cas,
    acquire=st.sampled_from(("", *SESSION_IDS)),
    release=st.sampled_from(("", "", *SESSION_IDS)),
)
indexes = st.sampled_from((0, 0, 1, 2, 3, 5, 8))
catalog_verbs = st.sampled_from((*sorted(CATALOG_VERBS), "nonsense"))
operations = st.one_of(
    st.builds(
        KeyOperation,
        verb=st.sampled_from((*sorted(KEY_READS | KEY_WRITES), "set", "set", "nonsense")),
        key=st.sampled_from(PREFIXES),
        value=st.sampled_from((b"", b"x", b"\xff")),
        flags=st.sampled_from((0, 2**64 - 1)),
        index=indexes,
        session=st.sampled_from(("", *SESSION_IDS)),
    ),
    st.builds(NodeOperation, verb=catalog_verbs, node=nodes, index=indexes),
    st.builds(ServiceOperation, verb=catalog_verbs, node=st.sampled_from(NODE_NAMES), service=services, index=indexes),
    st.builds(CheckOperation, verb=catalog_verbs, check=checks, index=indexes),
)
transactions = st.builds(Transaction, operations=st.lists(operations, max_size=6).map(tuple))
prepared_queries = st.builds(
    PreparedQuery,
    id=st.sampled_from(UUIDS[1:]),
    name=st.sampled_from(("", "q", "Q", "q-", *UUIDS[1:])),
    session=st.sampled_from(("", "", *SESSION_IDS)),
    token=st.sampled_from(("", "secret")),
    template=st.builds(QueryTemplate, type=st.sampled_from(("", NAME_PREFIX_MATCH, "nonsense"))),
    service=st.builds(QueryService, service=st.sampled_from(("web", "${name.suffix}", "${"))),
)
coordinates = st.builds(
    NodeCoordinate,
    node=st.sampled_from((*NODE_NAMES, "nobody")),
    coord=st.builds(
        Coordinate,
        vec=st.sampled_from(((0.0,) * 8, (0.25,) * 8, (0.5,), (float("nan"),) * 8)),
        height=st.sampled_from((0.0, 0.125, float("inf"))),
    ),
)
commands: st.SearchStrategy[AnyCommand] = st.one_of(
    st.builds(
        Register,
        node=nodes,
        service=st.none() | services,
        checks=st.lists(checks, max_size=2).map(tuple),
        skip_node_update=st.booleans(),
    ),
    st.builds(
        Deregister,
        node=st.sampled_from(NODE_NAMES),
        service_id=st.sampled_from(("", *IDS)),
        check_id=st.sampled_from(("", "", *CHECK_IDS)),
    ),
    st.builds(UpsertConfigEntry, entry=config_entries, cas=cas),
    st.builds(DeleteConfigEntry, kind=st.sampled_from((*KINDS, "none")), name=st.sampled_from(NAMES), cas=cas),
    st.builds(UpsertIntention, destination=st.sampled_from(NAMES), source=sources),
    st.builds(DeleteIntention, destination=st.sampled_from(NAMES), source=st.sampled_from(NAMES)),
    st.builds(SetCARoots, roots=st.lists(roots, max_size=2).map(tuple), cas=st.integers(0, 4)),
    st.builds(SetCAConfiguration, configuration=st.builds(CAConfiguration), cas=cas),
    st.builds(SetAutopilot, settings=st.builds(Autopilot, min_quorum=st.integers(0, 3)), cas=cas),
    st.builds(
        SetSystemMetadata, key=st.just("cluster_id"), value=st.sampled_from(("x", "y")), only_if_absent=st.booleans()
    ),
    puts,
    st.builds(DeleteKey, key=st.sampled_from(KEYS), cas=cas),
    st.builds(DeleteKeys, prefix=st.sampled_from(PREFIXES)),
    st.builds(CreateSession, session=sessions),
    st.builds(DestroySession, id=st.sampled_from(SESSION_IDS)),
    transactions,
    st.builds(SetPreparedQuery, query=prepared_queries, must_exist=st.booleans()),
    st.builds(DeletePreparedQuery, id=st.sampled_from(UUIDS[1:])),
    st.builds(UpdateCoordinates, coordinates=st.lists(coordinates, max_size=3).map(tuple)),
)
envelopes = st.builds(
    Envelope,
    client=st.sampled_from(("", "a", "b")),
    sequence=st.integers(0, 200),
    time_s=st.floats(),
    command=commands,
)
logs = st.lists(envelopes, max_size=40)
