"""The little asyncio plumbing every process shares: clock, owned tasks, RPC over frames, sockets, logging."""
