"""The agent of a host: configuration, local services, checks, HTTP API, views of the registry, sidecars. `boot` wires it."""
