"""What agents may ask of a server: one endpoint module a noun."""
