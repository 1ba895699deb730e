"""chowk: a Consul-style service registry and a Connect-style service mesh, one daemon a host."""

__version__ = "0.1.0"
