server = true
bootstrap_expect = 3
bind_addr = "10.0.4.11"
client_addr = "0.0.0.0"

connect {
  enabled = true
}

addresses {
  grpc = "127.0.0.1"
}

ports {
  grpc = 8502
}

ui_config {
  enabled = true
}
