"""The mesh: certificate authority, intentions, balancing, and the built-in mTLS proxy that a snapshot tells what to do."""
