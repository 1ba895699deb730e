"""Which route takes a request: pure matching, by the same normalised path as intentions."""
