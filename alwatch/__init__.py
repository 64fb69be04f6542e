"""alwatch: which frames of a lab's videos are worth labelling, season after season."""

__version__ = "0.1.0"
