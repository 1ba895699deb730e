"""The way between servers: Raft's messages and snapshots, how a cluster is founded, and who is refused."""
