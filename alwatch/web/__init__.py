"""Pages over what the store knows, for a browser."""
