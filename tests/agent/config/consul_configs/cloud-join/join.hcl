data_dir = "/opt/consul"
bind_addr = "0.0.0.0"
advertise_addr = "{{ GetPrivateInterfaces | include \"network\" \"10.0.0.0/8\" | attr \"address\" }}"
encrypt = "MDEyMzQ1Njc4OWFiY2RlZg=="
retry_join = [
  "provider=gce project_name=web tag_value=consul",
  "provider=k8s label_selector=\"app=consul,component=server\"",
  "10.1.0.5",
]
