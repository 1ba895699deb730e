"""The rules of config entries: what may be written, each alone. One module a kind; `check` is the way in.

Pure. Called by `agent.config` (which knows where each value was written) and by the servers before they propose. What
entries must be together is in `connect.chain.validation`.
"""
