"""What feeds the site, and what its plant forbids: source state, interlocks, and the contacts both are read from."""
