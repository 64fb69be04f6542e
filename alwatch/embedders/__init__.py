"""Frames in, one vector per frame out. Modules are loaded on first use, by name."""
