"""RPC between our processes: calls, streams and notices over one connection, in length-prefixed msgpack frames.

`frames` is the wire form; `connection` both ends of one connection, with `answers` its callee's side and `outbox` what it
has to send; `endpoints` what a server offers. Connections come from `listener` (Unix socket) and `tcp`, which trusts by
`identity`, whose certificates `trust` derives from the gossip keys; `reasons` says why somebody was not let in.
"""
