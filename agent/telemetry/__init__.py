"""Metrics under the names that the configuration asks for, and on their way to statsd."""
