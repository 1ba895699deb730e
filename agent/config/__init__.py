"""Files and flags -> one frozen AgentConfig, with errors that name file, line and column."""
