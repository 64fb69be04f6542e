"""Seasons: their figures, what those ask for, and the state that puts them in."""

from alwatch.seasons.coverage import SeasonStatus, season_statuses
from alwatch.seasons.figures import Drift, Interval, SeasonFigures

__all__ = ["Drift", "Interval", "SeasonFigures", "SeasonStatus", "season_statuses"]
