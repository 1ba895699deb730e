"""The durable log, hard state and snapshots on disk."""
