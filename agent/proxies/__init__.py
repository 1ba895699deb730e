"""The agent's side of sidecars: builds their snapshots, serves their control socket, keeps them running."""
