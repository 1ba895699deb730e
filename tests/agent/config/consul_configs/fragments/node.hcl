node_meta {
  instance_type = "t2.medium"
  rack = "r7"
}
alt_domain = "test-domain"
reconnect_timeout = "8h"
session_ttl_min = "10s"
disable_keyring_file = true
translate_wan_addrs = true
advertise_addr_wan = "203.0.113.7"
serf_lan = "10.1.2.3"
gossip_lan {
  gossip_nodes = 4
  probe_interval = "1s"
}
gossip_wan {
  probe_timeout = "5s"
}
segments = []
auto_reload_config = true
snapshot_agent {
  snapshot { interval = "1h" }
}
encrypt = "MDEyMzQ1Njc4OWFiY2RlZg=="
