"""A season's figures in words, for tables, for `alwatch seasons show` and for the report."""

from __future__ import annotations

import math
from collections.abc import Iterator

from alwatch.seasons.figures import Drift, Interval, SeasonFigures


def error_in_short(error_px: Interval | None) -> str:
    """An error for a cell of a table: `12.3 px (9 to 15)`."""
    if error_px is None:
        return "-"
    return f"{error_px.mean:.3g} px ({_range(error_px)})"


def drift_in_short(drift: tuple[Drift, ...]) -> str:
    """What the last look found, for a cell of a table: `found, p 0.002`."""
    if not drift:
        return "-"
    found = [each for each in drift if each.is_found]
    p = min(each.p for each in found or drift)
    return f"{'found' if found else 'none'}, p {p:.2g}"


def figures_in_words(figures: SeasonFigures) -> Iterator[tuple[str, str]]:
    """Every figure with what it means: name, sentence."""
    yield "videos", f"{figures.videos} videos, of which {figures.frames} frames were looked at."
    yield (
        "labels",
        f"{figures.labelled} frames are labelled and {figures.queued} queued; "
        f"{figures.new_labels} labels are new to the current snapshot.",
    )
    yield (
        "coverage",
        f"{100 * figures.coverage:.0f} % of the frames lie near a labelled frame of any season.",
    )
    yield "error", _error_in_words(figures)
    if figures.uncertainty is None:
        yield "uncertainty", "Not known: no snapshot has scored the season."
    else:
        yield (
            "uncertainty",
            f"{figures.uncertainty:.3f} is the mean over the scored frames; 0 is sure, 1 not at "
            "all.",
        )
    yield "drift", _drift_in_words(figures)
    if figures.novel_videos:
        yield (
            "novel videos",
            f"{len(figures.novel_videos)} videos are stranger to the labelled frames than "
            "labelled videos are to each other (p <= 0.05 each).",
        )
    else:
        yield "novel videos", "None is known to be stranger to the labelled frames than those are."


def look_in_words(drift: Drift) -> str:
    """One test of the last look."""
    verdict = "drift" if drift.is_found else "no drift"
    compare = "<=" if drift.is_found else ">"
    text = f"{drift.over}: {verdict}, p {drift.p:.2g} {compare} {drift.alpha:.2g}"
    if not drift.enough:
        return f"{text}; so few videos cannot give so small a p"
    if math.isinf(drift.effect):
        return f"{text}; videos of one kind do not differ at all"
    return (
        f"{text}; the new videos lie {abs(drift.effect):.2g} standard deviations between videos "
        "from the others"
    )


def _error_in_words(figures: SeasonFigures) -> str:
    error, baseline = figures.error_px, figures.baseline_px
    known = f"{baseline:.3g} px on labels that it may know" if baseline is not None else ""
    if error is None:
        reason = (
            "Not known: no random audit frame that the current snapshot cannot know is labelled"
        )
        return f"{reason}; it is {known}." if known else f"{reason}."
    times = f" ({error.mean / baseline:.2g} times that)" if baseline else ""
    frames = f"{error.frames} {_plural('frame', error.frames)}"
    text = (
        f"{error.mean:.3g} px (90 % interval {_range(error)}) on {frames} of {error.videos} "
        f"{_plural('video', error.videos)}, drawn at random, that the current snapshot was not "
        "trained on"
    )
    return f"{text}; {known}{times}." if known else f"{text}."


def _drift_in_words(figures: SeasonFigures) -> str:
    if not figures.drift:
        return (
            "Not looked at yet: a look needs new videos and others that the model was taught on, "
            "and, where there is a snapshot, its scores."
        )
    last, looks = figures.drift[0], figures.looks
    in_a_row = {0: "", 1: ", drift at the last one"}.get(
        figures.drift_looks, f", drift at the last {figures.drift_looks}"
    )
    return (
        f"At the last look {last.new} new videos were compared with {last.reference} that the "
        f"model was taught on; {looks} {_plural('look', looks)} so far{in_a_row}."
    )


def _range(error_px: Interval) -> str:
    high = "?" if math.isinf(error_px.high) else f"{error_px.high:.3g}"
    return f"{error_px.low:.3g} to {high}"


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
