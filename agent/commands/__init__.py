"""The commands of the CLI, one module a noun; each talks HTTP to an agent."""
