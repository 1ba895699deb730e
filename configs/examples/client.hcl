# An agent without a server of its own.
node_name  = "web-host-1"
datacenter = "dc1"
data_dir   = "/var/lib/chowk"

node_meta {
  rack = "r12"
}

addresses {
  dns  = "127.0.0.1"
  http = "127.0.0.1"
}

recursors = ["10.0.0.2", "10.0.0.3:53"]

enable_local_script_checks = true
leave_on_terminate         = true
log_json                   = true
