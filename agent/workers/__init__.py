"""DNS in processes of its own: what they are told, what they run, and who looks after them."""
