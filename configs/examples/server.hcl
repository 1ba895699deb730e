# One durable server with its agent. Start it with: chowk agent -config-file configs/examples/server.hcl
server           = true
bootstrap_expect = 1
node_name        = "server-1"
datacenter       = "dc1"
data_dir         = "/var/lib/chowk"

client_addr = "127.0.0.1"

ports {
  http = 8500
  dns  = 8600
}

dns_config {
  node_ttl = "5s"
  service_ttl {
    "*"   = "2s"
    "web" = "1s"
  }
  only_passing = true
}

connect {
  enabled = true
  ca_config {
    leaf_cert_ttl = "24h"
  }
}

default_intention_policy = "deny"

# Written once, when the datacenter has no such entry yet.
config_entries {
  bootstrap = [
    {
      Kind = "proxy-defaults"
      Name = "global"
      Config {
        protocol = "http"
      }
    },
    {
      kind = "service-intentions"
      name = "db"
      sources = [
        { name = "web", action = "allow" },
        { name = "*", action = "deny", description = "nobody else reads the database" },
      ]
    },
  ]
}

http_config {
  response_headers {
    "Access-Control-Allow-Origin" = "https://ops.example.com"
  }
  allow_write_http_from = ["127.0.0.0/8"]
}

log_level = "info"
