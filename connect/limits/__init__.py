"""How much at once, and how often: doors, breakers, budgets, rates, concurrency. Pure counting."""
