"""The consensus core: full Raft without IO. Entries are opaque bytes."""
