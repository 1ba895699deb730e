data_dir = "/opt/consul"
server = true
bootstrap_expect = 3
retry_join = ["10.0.0.1", "10.0.0.2"]
bind_addr = "10.1.2.3"
encrypt = "MDEyMzQ1Njc4OWFiY2RlZg=="
encrypt_verify_incoming = true
encrypt_verify_outgoing = true

peering {
  enabled = true
}
xds {
  update_max_per_second = 250
}
limits {
  http_max_conns_per_client = 400
  rpc_rate = 100
  rpc_max_burst = 1000
  kv_max_value_size = 1048576
}
telemetry {
  statsite_address = "10.0.0.9:8125"
  disable_hostname = true
  prefix_filter = ["+consul.raft.apply", "-consul.http"]
}
dns_config {
  allow_stale = true
  max_stale = "10s"
  node_ttl = "30s"
  service_ttl {
    "*" = "5s"
    "web*" = "30s"
  }
  only_passing = true
  enable_truncate = true
  recursor_strategy = "random"
}
http_config {
  block_endpoints = ["/v1/acl"]
  response_headers {
    Access-Control-Allow-Origin = "*"
  }
  use_cache = true
}
autopilot {
  cleanup_dead_servers = true
  last_contact_threshold = "200ms"
  max_trailing_logs = 250
  server_stabilization_time = "10s"
}
