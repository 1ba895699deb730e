"""Caps on connections and handshakes: pure counting."""
