"""Which endpoint the next request or connection goes to: pure balancers, passive health, failover order."""
