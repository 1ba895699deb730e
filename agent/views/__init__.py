"""Materialised views: parts of the registry, kept in memory by following topics, and kept when the servers are gone."""
