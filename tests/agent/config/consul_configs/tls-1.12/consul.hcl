datacenter = "dc1"
data_dir = "/opt/consul"
server = true
bootstrap_expect = 1

tls {
  defaults {
    ca_file = "/consul/config/certs/consul-agent-ca.pem"
    cert_file = "/consul/config/certs/dc1-server-consul-0.pem"
    key_file = "/consul/config/certs/dc1-server-consul-0-key.pem"
    verify_incoming = true
    verify_outgoing = true
    tls_min_version = "TLSv1_2"
  }
  internal_rpc {
    verify_server_hostname = true
  }
  https {
    verify_incoming = false
  }
  grpc {
    use_auto_cert = true
  }
}

ports {
  http = -1
  https = 8501
  grpc_tls = 8503
}

auto_encrypt {
  allow_tls = true
}
