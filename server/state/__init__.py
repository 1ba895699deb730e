"""The replicated store: tables, indexes, and apply(index, command) -> (result, events)."""
