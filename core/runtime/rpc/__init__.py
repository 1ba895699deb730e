"""RPC between our processes: many calls and streams over one connection, in length-prefixed msgpack frames.

`frames` is the wire form, `connection` both ends of one connection, `endpoints` what a server offers, `listener` the
two ways to get a connection: listening and dialling.
"""
