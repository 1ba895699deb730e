"""The HTTP API under /v1: thin handlers over local state, views and RPC."""
