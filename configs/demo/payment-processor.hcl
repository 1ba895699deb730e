# The payment processor calls fraud detection and the risk engine through its sidecar:
# what it sends to localhost:9001 and localhost:9002 leaves this host encrypted, and only if intentions allow it.
service {
  name = "payment-processor"
  port = 8080

  check {
    name     = "payment-processor answers"
    http     = "http://127.0.0.1:8080/health"
    interval = "2s"
    timeout  = "1s"
  }

  connect {
    sidecar_service {
      proxy {
        upstreams = [
          {
            destination_name = "fraud-detection"
            local_bind_port  = 9001
          },
          {
            destination_name = "risk-engine"
            local_bind_port  = 9002
          }
        ]
      }
    }
  }
}
