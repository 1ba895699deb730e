"""Watches: what is asked of the HTTP API again and again, and what is run when the answer changes."""
