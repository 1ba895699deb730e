data_dir = "/opt/consul"
server = true
bootstrap = true
addresses {
  http = "127.0.0.1 unix:///var/run/consul/http.sock"
}
unix_sockets {
  user = "consul"
  group = "consul"
  mode = "0770"
}
pid_file = "/var/run/consul/consul.pid"
