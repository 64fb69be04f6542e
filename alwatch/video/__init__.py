"""Videos: probing, decoding with the true frame index, and which frames to look at."""
