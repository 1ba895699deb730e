"""DNS for the registry: pure cores (names, answer, order, limits), thin shells (codec, server, recursor).

The room knows the registry only through `lookup.Lookup`, which the agent's boot hands in.
"""
