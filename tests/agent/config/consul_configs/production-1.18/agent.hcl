data_dir = "/opt/consul"
server = true
bootstrap = true
node_name = "prod-1"
locality {
  region = "eu-west-1"
  zone = "eu-west-1a"
}
raft_logstore {
  backend = "wal"
  disable_log_cache = false
  verification {
    enabled = true
    interval = "60s"
  }
}
limits {
  request_limits {
    mode = "permissive"
    read_rate = 500
    write_rate = 200
  }
}
reporting {
  license {
    enabled = false
  }
}
license_path = "/etc/consul.d/license.hclic"
log_file = "/var/log/consul/"
log_rotate_duration = "24h"
log_rotate_bytes = 104857600
log_rotate_max_files = 7
enable_syslog = true
syslog_facility = "LOCAL3"
audit {
  enabled = true
  sink "My sink" {
    type = "file"
    format = "json"
    path = "data/audit/audit.json"
    rotate_duration = "24h"
  }
}
