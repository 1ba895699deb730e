"""The registry server: Raft, the replicated store, its streams and its RPC. No HTTP, no DNS, no HCL."""
