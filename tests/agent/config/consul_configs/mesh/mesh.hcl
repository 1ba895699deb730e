data_dir = "/opt/consul"
server = true
bootstrap_expect = 1
ports {
  grpc = 8502
}
connect {
  enabled = true
  ca_provider = "consul"
  ca_config {
    leaf_cert_ttl = "72h"
    rotation_period = "2160h"
    csr_max_per_second = 50.0
  }
}
config_entries {
  bootstrap = [
    {
      kind = "proxy-defaults"
      name = "global"
      config {
        protocol = "http"
        envoy_prometheus_bind_addr = "0.0.0.0:9102"
      }
    },
    {
      kind = "service-intentions"
      name = "db"
      sources = [
        { name = "web", action = "allow" }
      ]
    }
  ]
}
service {
  name = "web"
  port = 8080
  connect {
    sidecar_service {
      port = 20000
      proxy {
        upstreams {
          destination_name = "db"
          local_bind_port = 9191
        }
        config {
          handshake_timeout_ms = 10000
        }
      }
    }
  }
}
