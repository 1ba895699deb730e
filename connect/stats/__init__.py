"""What a proxy counts of the requests that pass: by edge, of closed label sets, with a cap on how many there are. Pure."""
