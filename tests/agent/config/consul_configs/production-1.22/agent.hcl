data_dir = "/opt/consul"
server = true
bootstrap_expect = 1
experiments = ["resource-apis"]
raft_prevote_disabled = false
server_rejoin_age_max = "168h"
default_query_time = "300s"
max_query_time = "600s"
default_intention_policy = "deny"
acl {
  enabled = true
  default_policy = "deny"
  down_policy = "extend-cache"
  tokens {
    initial_management = "deadbeef-1234-4567-8910-abcdefabcdef"
    agent = "deadbeef-1234-4567-8910-abcdefabcdea"
    dns = "deadbeef-1234-4567-8910-abcdefabcdeb"
    config_file_service_registration = "deadbeef-1234-4567-8910-abcdefabcdec"
  }
}
performance {
  raft_multiplier = 1
  grpc_keepalive_interval = "30s"
  enable_xds_load_balancing = true
}
