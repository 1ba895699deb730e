# chowk config write configs/examples/entries/api-resolver.hcl
kind           = "service-resolver"
name           = "api"
default_subset = "stable"

subsets {
  stable { filter = "Service.Meta.track == stable" }
  canary { filter = "Service.Meta.track == canary" }
}

failover "*" {
  targets { service_subset = "stable" }
  targets { service = "api-standby" }
}
