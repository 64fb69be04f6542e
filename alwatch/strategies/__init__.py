"""Strategies: a pool of frames in, picks with their reasons out."""
