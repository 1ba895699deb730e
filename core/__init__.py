"""The shared vocabulary: records, commands, events, requests, errors and the codec.

Every other room speaks in these types; nothing here imports another room. `core.runtime` holds the few pieces of
asyncio plumbing (clock, tasks, RPC frames, sockets, logging) that every process needs.
"""
