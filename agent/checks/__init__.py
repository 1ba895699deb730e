"""Runs health checks: one module a kind of check, one scheduler for all."""
