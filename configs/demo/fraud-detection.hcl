# Two instances of one service: calls are balanced over those that are healthy.
services = [
  {
    id   = "fraud-detection-1"
    name = "fraud-detection"
    port = 8081
    tags = ["v1"]

    check {
      name     = "fraud-detection-1 answers"
      http     = "http://127.0.0.1:8081/health"
      interval = "2s"
      timeout  = "1s"
    }

    connect { sidecar_service {} }
  },
  {
    id   = "fraud-detection-2"
    name = "fraud-detection"
    port = 8082
    tags = ["v2"]

    check {
      name     = "fraud-detection-2 answers"
      http     = "http://127.0.0.1:8082/health"
      interval = "2s"
      timeout  = "1s"
    }

    connect { sidecar_service {} }
  },
]
