"""The certificate authority's core: roots, CSRs, leaves, SPIFFE identities."""
