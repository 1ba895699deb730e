"""The agent's way to the servers: a connection that comes back by itself."""
