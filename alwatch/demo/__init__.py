"""The demonstration: a small archive that is drawn, and what is done with it."""
