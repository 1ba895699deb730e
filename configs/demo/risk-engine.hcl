service {
  name = "risk-engine"
  port = 8083

  check {
    name     = "risk-engine answers"
    http     = "http://127.0.0.1:8083/health"
    interval = "2s"
    timeout  = "1s"
  }

  connect { sidecar_service {} }
}
