"""What the router stands on: the routing file, the built-in providers, and who rests."""
