"""The merged values to an `AgentConfig`: defaults, -dev, and the rules that hold between keys. Called by `build`."""

from __future__ import annotations

from typing import Any

from chowk.agent.config.cluster_rules import (
    autopilot_of,
    gossip_of,
    raft_of,
    sealing_problems,
    server_of,
    timing_of,
)
from chowk.agent.config.config_entries import decode_config_entry
from chowk.agent.config.decode import Decoded, Reading
from chowk.agent.config.definitions import build_check, build_locality, build_service
from chowk.agent.config.host import Host
from chowk.agent.config.https_rules import https_of, unix_sockets_of
from chowk.agent.config.identity_rules import base64_key, datacenter_of, domain_of, node_id_of, node_name_of
from chowk.agent.config.keys_agent import AGENT
from chowk.agent.config.listeners import (
    addresses_of,
    bind_of,
    network_problems,
    ports_of,
    recursor_problems,
    tagged_addresses_of,
)
from chowk.agent.config.model import (
    AgentConfig,
    ChecksConfig,
    ConnectConfig,
    DnsConfig,
    HttpConfig,
    LimitsConfig,
    LogRotation,
    RateLimitConfig,
    SoaConfig,
)
from chowk.agent.config.problems import Problems
from chowk.agent.config.service_rules import meta_problems, service_problems
from chowk.agent.config.service_set import set_problems
from chowk.agent.config.telemetry_rules import telemetry_of
from chowk.agent.config.watch_rules import build_watch
from chowk.core.codec import to_builtins
from chowk.core.definitions import CheckDefinition, Position, ServiceDefinition
from chowk.core.records.kv import VALUE_BYTES_MAX

_PLAIN = (
    "log_json", "log_file", "pid_file", "enable_debug", "insecure_cluster", "auto_reload_config",
)  # fmt: skip


def assemble(whole: Decoded, reading: Reading, host: Host, *, dev: bool, fragments: bool) -> AgentConfig:
    """The configuration of all that was read. Problems are noted in `reading.problems`; with any, it must not be used."""
    problems = reading.problems
    server, expect = server_of(whole, problems, dev=dev, fragments=fragments)
    if not dev and not fragments and not whole.get("data_dir"):
        problems.add(Position(), "data_dir is missing: say where to keep state (or use -dev, which keeps none)")
    if dev and whole.get("data_dir"):
        problems.warn(whole.at("data_dir"), "-dev keeps everything in memory; data_dir is not used")
    meta_problems(whole.get("node_meta", {}), whole.at("node_meta"), problems, "node_meta")
    bind, advertise = bind_of(whole, host, problems)
    ports = ports_of(whole, problems, dev=dev)
    gossip = gossip_of(whole, ports, host, problems)
    sealing_problems(whole, (bind, gossip.bind_addr), gossip, problems, fragments=fragments)
    dns = _dns(whole, problems)
    services, checks = _definitions(whole, reading)
    return AgentConfig(
        **whole.pick(**{name: name for name in _PLAIN}),
        node_name=node_name_of(whole, host, problems),
        node_id=node_id_of(whole, problems),
        node_meta=whole.get("node_meta", {}),
        datacenter=datacenter_of(whole, problems),
        data_dir="" if dev else whole.get("data_dir", ""),
        dev=dev,
        server=server,
        bootstrap_expect=expect,
        bind_addr=bind,
        advertise_addr=advertise,
        addresses=addresses_of(whole, host, problems),
        ports=ports,
        dns=dns,
        limits=_limits(whole, problems),
        tagged_addresses=tagged_addresses_of(whole, host, problems),
        locality=build_locality(whole),
        http=_http(whole, problems),
        https=https_of(whole, problems, ports.https),
        unix_sockets=unix_sockets_of(whole, problems),
        connect=_connect(whole, problems),
        checks_config=_checks_config(whole),
        gossip=gossip,
        raft=raft_of(whole),
        autopilot=autopilot_of(whole),
        **timing_of(whole),
        **whole.pick(session_ttl_s_min="session_ttl_min"),
        default_intention_policy=_intention_policy(whole),
        services=services,
        checks=checks,
        config_entries=_config_entries(whole, reading),
        watches=tuple(build_watch(decoded, problems) for decoded in whole.get("watches", ())),
        telemetry=telemetry_of(whole, problems),
        log_level=whole.get("log_level") or "info",
        log_rotation=LogRotation(
            **whole.pick(
                bytes_max="log_rotate_bytes", duration_s="log_rotate_duration", files_max="log_rotate_max_files"
            )
        ),
        syslog_facility=(whole.get("syslog_facility") or "LOCAL0") if whole.get("enable_syslog") else "",
        leave_on_terminate=whole.get("leave_on_terminate", not server),
        skip_leave_on_interrupt=whole.get("skip_leave_on_interrupt", server),
        encrypt=base64_key(whole, problems),
        extra={key.name: _kept(whole.get(key.name)) for key in AGENT.keys if not key.served and key.name in whole},
    )


def _all(block: Decoded | None, kind: type[Any]) -> dict[str, Any]:
    """The keys of a block that have fields of the same name."""
    return {} if block is None else block.pick(**{name: name for name in kind.__struct_fields__})


def _limits(whole: Decoded, problems: Problems) -> LimitsConfig:
    block: Decoded | None = whole.get("limits")
    limits = _all(block, LimitsConfig)
    for key, what in (("kv_max_value_size", "a value"), ("txn_max_req_len", "a transaction")):
        if block is not None and limits.get(key, 0) > VALUE_BYTES_MAX:
            problems.warn(
                block.at(key),
                f"{key}: {what} has at most {VALUE_BYTES_MAX} bytes, for it is one entry of the servers' log; that is used",
            )
            limits[key] = VALUE_BYTES_MAX
    return LimitsConfig(**limits)


def _kept(value: Any) -> Any:
    return {name: _kept(item) for name, item in value.values.items()} if isinstance(value, Decoded) else value


def _dns(whole: Decoded, problems: Problems) -> DnsConfig:
    block: Decoded = whole.get("dns_config") or Decoded(whole.position, "dns_config")
    same = ("only_passing", "enable_truncate", "udp_answer_limit", "a_record_limit", "wire_cache", "workers")
    soa: Decoded | None = block.get("soa")
    rate: Decoded | None = block.get("response_rate_limit")
    if rate is not None:
        network_problems(rate.get("exempt", ()), rate.at("exempt"), "dns_config.response_rate_limit.exempt", problems)
    soa_fields = {"refresh_s": "refresh", "retry_s": "retry", "expire_s": "expire", "min_ttl_s": "min_ttl"}
    recursors = whole.get("recursors", ())
    recursor_problems(recursors, whole.at("recursors"), problems)
    domain, alt_domain = domain_of(whole, "domain", problems) or "consul", domain_of(whole, "alt_domain", problems)
    if alt_domain == domain:
        problems.add(whole.at("alt_domain"), "alt_domain is the same as domain")
    return DnsConfig(
        **block.pick(**{name: name for name in same}),
        **block.pick(recursor_timeout_s="recursor_timeout", recursor_strategy="recursor_strategy"),
        **block.pick(node_ttl_s="node_ttl", service_ttl_s="service_ttl"),
        domain=domain,
        alt_domain=alt_domain,
        recursors=recursors,
        response_rate_limit=RateLimitConfig(
            **({} if rate is None else rate.pick(**{name: name for name in ("per_second", "slip", "exempt")}))
        ),
        soa=SoaConfig() if soa is None else SoaConfig(**soa.pick(**soa_fields)),
    )


def _http(whole: Decoded, problems: Problems) -> HttpConfig:
    block: Decoded | None = whole.get("http_config")
    waits = whole.pick(default_query_time_s="default_query_time", max_query_time_s="max_query_time")
    if block is None:
        return HttpConfig(**waits)
    networks = block.get("allow_write_http_from", ())
    network_problems(networks, block.at("allow_write_http_from"), "http_config.allow_write_http_from", problems)
    for name, value in block.get("response_headers", {}).items():
        if set("\r\n\0:") & set(name) or set("\r\n\0") & set(value) or not name:
            problems.add(
                block.at("response_headers"), f'http_config.response_headers: "{name[:40]}" is no header of one line'
            )
    return HttpConfig(
        **waits,
        **block.pick(block_endpoints="block_endpoints", response_headers="response_headers"),
        **block.pick(max_header_bytes="max_header_bytes", allow_hosts="allow_hosts"),
        allow_write_from=networks,
    )


def _connect(whole: Decoded, problems: Problems) -> ConnectConfig:
    block: Decoded | None = whole.get("connect")
    if block is None:
        return ConnectConfig()
    config = block.get("ca_config", {})
    if not isinstance(config, dict):
        problems.add(block.at("ca_config"), "connect.ca_config: expected a block: { … }")
        config = {}
    return ConnectConfig(
        **block.pick(enabled="enabled", launch="launch", keep_leaves="keep_leaves", allow_bypass="allow_bypass"),
        ca_provider=block.get("ca_provider") or "consul",
        ca_config=config,
    )


def _checks_config(whole: Decoded) -> ChecksConfig:
    return ChecksConfig(
        **whole.pick(
            enable_script_checks="enable_script_checks",
            enable_local_script_checks="enable_local_script_checks",
            check_update_interval_s="check_update_interval",
            discard_check_output="discard_check_output",
            output_max_size="check_output_max_size",
        )
    )


def _intention_policy(whole: Decoded) -> str:
    """Its own key decides; else, as in Consul, what ACLs would do by default."""
    acl: Decoded | None = whole.get("acl")
    from_acl = acl.get("default_policy", "") if acl is not None and acl.get("enabled") else ""
    if whole.get("acl_datacenter"):
        from_acl = from_acl or whole.get("acl_default_policy", "")  # how ACLs were asked for before 1.4
    return whole.get("default_intention_policy") or from_acl or "allow"


def _config_entries(whole: Decoded, reading: Reading) -> tuple[dict[str, Any], ...]:
    problems = reading.problems
    block: Decoded | None = whole.get("config_entries")
    first: dict[tuple[str, str], Position] = {}
    found = []
    for tree in block.get("bootstrap", ()) if block is not None else ():
        entry = decode_config_entry(tree, problems, now=reading.now)
        if entry is None:
            continue
        key = (entry.kind, entry.name)
        if key in first:
            problems.add(
                tree.position, f'config entry {entry.kind} "{entry.name}" is given twice, first at {first[key]}'
            )
        first.setdefault(key, tree.position)
        found.append(to_builtins(entry))
    return tuple(found)


def _definitions(whole: Decoded, reading: Reading) -> tuple[tuple[ServiceDefinition, ...], tuple[CheckDefinition, ...]]:
    services = []
    for decoded in (*whole.get("service", ()), *whole.get("services", ())):
        service = build_service(decoded, reading)
        service_problems(decoded, service, reading.problems)
        services.append(service)
    checks = []
    for decoded in (*whole.get("check", ()), *whole.get("checks", ())):
        check = build_check(decoded, reading)
        if not check.name and not check.id:
            reading.problems.add(decoded.position, f"{decoded.path}: a check needs a name")
        checks.append(check)
    scripts = whole.get("enable_script_checks", False) or whole.get("enable_local_script_checks", False)
    set_problems(services, checks, reading.problems, scripts=scripts)
    return tuple(services), tuple(checks)
