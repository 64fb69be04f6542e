"""Settings: one YAML file becomes one frozen `Settings`, or a list of all that is wrong with it."""

from alwatch.config.loading import find_settings, load_settings
from alwatch.config.sections import (
    Archive,
    Backup,
    Decoding,
    Embedding,
    Export,
    Groups,
    Queue,
    Sampling,
    Season,
    SeasonRange,
    Settings,
)
from alwatch.config.template import commented_settings, settings_table
from alwatch.config.triggers import Action, Promotion, Rounds, Trigger

__all__ = [
    "Action",
    "Archive",
    "Backup",
    "Decoding",
    "Embedding",
    "Export",
    "Groups",
    "Promotion",
    "Queue",
    "Rounds",
    "Sampling",
    "Season",
    "SeasonRange",
    "Settings",
    "Trigger",
    "commented_settings",
    "find_settings",
    "load_settings",
    "settings_table",
]
