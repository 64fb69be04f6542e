"""Scores: arrays in, arrays out. One file per score; nothing of alwatch is imported here."""
