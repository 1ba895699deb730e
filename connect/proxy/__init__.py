"""The built-in mTLS proxy: one process a sidecar, told what to do by snapshots."""
