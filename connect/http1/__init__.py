"""HTTP/1.1 without IO: heads, body framing, paths, and what changes on a message on its way through a proxy."""
