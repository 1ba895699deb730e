log_level = "DEBUG"
connect {
  enabled = true
}
ports {
  grpc = 8502
}
services {
  id = "counting-1"
  name = "counting"
  port = 9003
  check {
    id = "counting-check"
    http = "http://localhost:9003/health"
    method = "GET"
    interval = "1s"
    timeout = "1s"
  }
  connect {
    sidecar_service {}
  }
}
