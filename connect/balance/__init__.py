"""Which endpoint the next connection goes to: pure choosing."""
