"""Seasons: their figures, what those ask for, and the state that puts them in.

Only what needs no array is imported here, so that a command that shows figures starts fast.
"""

from alwatch.seasons.figures import Drift, Interval, SeasonFigures

__all__ = ["Drift", "Interval", "SeasonFigures"]
