"""The records of the registry: what the servers replicate, the agents view and the HTTP API prints.

Each is an immutable struct whose JSON form *is* Consul's: `json_name` turns a field's name into the key Consul uses,
so a record is encoded once and its bytes are joined into replies.
"""
