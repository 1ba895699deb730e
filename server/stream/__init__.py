"""Events to subscribers: a bounded buffer, snapshots, and wake-ups for blocking queries."""
