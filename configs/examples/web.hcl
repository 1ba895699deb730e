# A service with one check of each kind; a real one has one or two.
enable_local_script_checks = true

service {
  id      = "web-1"
  name    = "web"
  port    = 8080
  address = "127.0.0.1"
  tags    = ["v1", "primary"]

  meta = {
    version = "1.4.2"
    team    = "storefront"
  }

  tagged_addresses {
    lan { address = "192.0.2.10" port = 8080 }
    wan { address = "198.51.100.10" port = 80 }
  }

  weights {
    passing = 10
    warning = 1
  }

  checks = [
    {
      id       = "web-http"
      name     = "answers over HTTP"
      http     = "https://127.0.0.1:8080/health"
      method   = "POST"
      header   = { Authorization = ["Bearer health"], "X-Probe" = ["chowk"] }
      body     = "{\"deep\": true}"
      interval = "10s"
      timeout  = "2s"

      tls_server_name                   = "web.internal"
      success_before_passing            = 2
      failures_before_warning           = 1
      failures_before_critical          = 3
      deregister_critical_service_after = "30m"
    },
    { name = "accepts connections", tcp = "127.0.0.1:8080", interval = "5s" },
    { name = "datagrams", udp = "127.0.0.1:8125", interval = "10s" },
    { name = "gRPC health", grpc = "127.0.0.1:9090/storefront.Web", grpc_use_tls = true, interval = "10s" },
    { name = "HTTP/2 ping", h2ping = "127.0.0.1:8443", interval = "10s" },
    { name = "unit", os_service = "nginx.service", interval = "30s" },
    { name = "reports itself", ttl = "30s", status = "warning" },
    { name = "the database is up", alias_service = "db" },
  ]

  check {
    name     = "disk"
    args     = ["/usr/lib/chowk/check-disk", "-w", "80"]
    interval = "60s"
    timeout  = "10s"
    notes    = <<-EOT
      Warns at 80 percent.
      Ask the storage team.
      EOT
  }

  connect {
    sidecar_service {
      proxy {
        config {
          local_connect_timeout_ms = 2000
        }
        upstreams {
          destination_name = "db"
          local_bind_port  = 5432
          config {
            connect_timeout_ms = 3000
            limits {
              max_connections = 100
            }
            passive_health_check {
              interval     = "10s"
              max_failures = 3
            }
          }
        }
        upstreams {
          destination_name   = "cache"
          local_bind_address = "127.0.0.2"
          local_bind_port    = 6379
        }
      }
    }
  }
}

# A check of the host itself: every service on it follows.
check {
  id       = "load"
  name     = "load average"
  args     = ["/usr/lib/chowk/check-load"]
  interval = "30s"
}
