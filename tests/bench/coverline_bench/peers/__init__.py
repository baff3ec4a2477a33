"""One file per peer. Each says how a user of that product does the same work."""
