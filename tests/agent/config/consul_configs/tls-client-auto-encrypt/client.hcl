data_dir = "/opt/consul"
bind_addr = "{{ GetInterfaceIP \"eth0\" }}"
encrypt = "MDEyMzQ1Njc4OWFiY2RlZg=="
verify_incoming = false
verify_outgoing = true
verify_server_hostname = true
ca_file = "/etc/consul.d/consul-agent-ca.pem"
auto_encrypt = {
  tls = true
}
ports {
  https = 8501
}
retry_join = ["provider=aws tag_key=consul tag_value=server region=eu-west-1"]
