"""Who may connect to whom: one pure decision."""
