"""Local maxima of score maps, many maps at a time, on a processor or a graphics card.

Score maps are mostly background. So one pass finds the highest value of every row, and all else
happens on the rows that rise above their map's threshold.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_CELLS_AT_A_TIME = 2**19
"""So many stay in a processor's cache."""

_CELLS_PER_CANDIDATE = 20
"""With more cells to a candidate, its surroundings are cheaper looked up than swept (measured)."""

_AFTER = ((0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True, slots=True)
class Peaks:
    """The highest peaks of each map, the highest first.

    Parameters
    ----------
    values : float tensor of shape (..., max_peaks)
        0 where there are fewer.
    rows, columns : int64 tensors of shape (..., max_peaks)
        -1 where there are fewer.
    count : int64 tensor of shape (...)
        How many there are, `max_peaks` at most.
    """

    values: Tensor
    rows: Tensor
    columns: Tensor
    count: Tensor


def find_peaks(
    maps: Tensor,
    *,
    min_distance_px: int,
    threshold_abs: float,
    threshold_rel: float,
    max_peaks: int,
    exclude_border_px: int = 0,
    merge_plateaus: bool = True,
) -> Peaks:
    """Find the highest local maxima of each map.

    A peak is a cell that is above the threshold and at least as high as every cell within
    `min_distance_px` rows and columns; what lies beyond the border is lower than everything.
    Equal neighbours, a plateau, are one peak, its first cell in reading order. Peaks are taken by
    height, equal ones in reading order, and none that is nearer than `min_distance_px` rows or
    columns (the larger counts) to one that was taken. A map that is the same everywhere has no
    peak. With `merge_plateaus=False` and `exclude_border_px=min_distance_px` these are
    scikit-image's rules (`peak_local_max`).

    Parameters
    ----------
    maps : float tensor of shape (..., h, w)
        Gradients are not followed.
    min_distance_px : int, >= 1
        In cells of the map.
    threshold_abs : float
        A peak is above this,
    threshold_rel : float
        and above this share of its map's highest value.
    max_peaks : int, >= 1
    exclude_border_px : int
        A peak is at least so many cells from the border.
    merge_plateaus : bool

    Raises
    ------
    ValueError
        A map holds NaN or infinity, or there is nothing to look at or for.
    """
    if maps.ndim < 2 or 0 in maps.shape[-2:] or min_distance_px < 1 or max_peaks < 1:
        raise ValueError(
            "maps must have shape (..., h, w), and h, w, min_distance_px and max_peaks be at "
            f"least 1; got {tuple(maps.shape)}, {min_distance_px} and {max_peaks}"
        )
    height, width = maps.shape[-2:]
    flat = maps.detach().reshape(-1, height, width)
    tops = flat.amax(dim=2)  # (m, h)
    level = _levels(tops, threshold_abs, threshold_rel)
    rises = tops > level
    pieces = int(rises.sum()) * width // _CELLS_AT_A_TIME + 1
    parts = []
    for some, above, where in zip(
        flat.chunk(pieces), level.chunk(pieces), rises.chunk(pieces), strict=True
    ):
        maxima = _not_everywhere(_local_maxima(some, above, where, min_distance_px))
        if exclude_border_px:
            maxima = maxima.inside(exclude_border_px)
        maxima = _high_enough(maxima, max_peaks)
        if merge_plateaus:
            maxima = _first_of_plateaus(maxima)
        parts.append(_highest(maxima, min_distance_px, max_peaks))
    values, rows, columns = (torch.cat(part) for part in zip(*parts, strict=True))
    shape = (*maps.shape[:-2], max_peaks)
    count = (rows >= 0).sum(dim=1).reshape(maps.shape[:-2])
    return Peaks(values.reshape(shape), rows.reshape(shape), columns.reshape(shape), count)


@dataclass(frozen=True, slots=True)
class _Cells:
    """Some cells of the maps `flat`, in reading order: which map, row, column, and value."""

    flat: Tensor
    number: Tensor
    row: Tensor
    column: Tensor
    value: Tensor

    def __getitem__(self, rows: Tensor) -> _Cells:
        return _Cells(
            self.flat, self.number[rows], self.row[rows], self.column[rows], self.value[rows]
        )

    @property
    def place(self) -> Tensor:
        """Where each lies in the memory of the maps."""
        height, width = self.flat.shape[1:]
        return (self.number * height + self.row) * width + self.column

    def inside(self, border_px: int) -> _Cells:
        height, width = self.flat.shape[1:]
        rows = (self.row >= border_px) & (self.row < height - border_px)
        columns = (self.column >= border_px) & (self.column < width - border_px)
        return self[rows & columns]

    def highest_within(self, down: int, right: int) -> Tensor:
        """The highest value within so many rows and columns of each."""
        height, width = self.flat.shape[1:]
        device = self.flat.device
        # Beyond the border stands the nearest cell, which is in the window anyway.
        rows = self.row[:, None] + torch.arange(-down, down + 1, device=device)
        columns = self.column[:, None] + torch.arange(-right, right + 1, device=device)
        rows = (rows.clamp_(0, height - 1) + self.number[:, None] * height) * width
        places = rows[:, :, None] + columns.clamp_(0, width - 1)[:, None, :]
        return self.flat.reshape(-1).take(places).amax(dim=(1, 2))

    def in_map(self) -> tuple[Tensor, int]:
        """Which of its map's cells each is, and how many the map with the most has."""
        counts = torch.bincount(self.number, minlength=len(self.flat))
        place = torch.arange(len(self.number), device=self.flat.device)
        rank = place - (counts.cumsum(0) - counts)[self.number]
        return rank, int(counts.max()) if len(counts) else 0


def _levels(tops: Tensor, absolute: float, relative: float) -> Tensor:
    """What a peak of each map is above, shape (m, 1), from the highest value of every row."""
    highest = tops.amax(dim=1, keepdim=True)
    if not bool((highest < torch.inf).all()):
        raise ValueError("maps must not hold NaN or infinity")
    return (highest * relative).clamp(min=absolute)


def _local_maxima(flat: Tensor, level: Tensor, rises: Tensor, distance: int) -> _Cells:
    """Cells above the level that no cell within `distance` rows and columns is higher than.

    Rows of which `rises` (m, h) is not true hold none.
    """
    maps, height, width = flat.shape
    number, row = rises.nonzero(as_tuple=True)
    rows = flat.reshape(maps * height, width).index_select(0, number * height + row)  # (r, w)
    # One comparison with the highest of three costs less than three comparisons.
    beside = level.index_select(0, number).expand_as(rows).clone()
    torch.maximum(beside[:, 1:], rows[:, :-1], out=beside[:, 1:])
    torch.maximum(beside[:, :-1], rows[:, 1:], out=beside[:, :-1])
    is_maximum = rows >= beside
    is_sparse = int(is_maximum.sum()) * _CELLS_PER_CANDIDATE < rows.numel()
    if not is_sparse:
        is_maximum &= rows >= _highest_around(rows, number, row, flat.shape, distance)
    which, column = is_maximum.nonzero(as_tuple=True)
    cells = _Cells(flat, number[which], row[which], column, rows[which, column])
    # Most have a higher one right above or below; few are worth a look at the whole window.
    for down, right in ((1, 0), (distance, distance)) if is_sparse else ():
        cells = cells[cells.value >= cells.highest_within(down, right)]
    return cells[cells.value > level[cells.number, 0]]


def _highest_around(
    rows: Tensor, number: Tensor, row: Tensor, shape: torch.Size, distance: int
) -> Tensor:
    """The highest value within `distance` rows and columns of every cell of these rows (r, w)."""
    maps, height, width = shape
    # A last row, lower than all, stands for rows outside and for those that were left out.
    along = torch.cat([rows, rows.new_full((1, width), -torch.inf)])
    window = along.clone()
    for step in range(1, distance + 1):
        torch.maximum(window[:, step:], along[:, :-step], out=window[:, step:])
        torch.maximum(window[:, :-step], along[:, step:], out=window[:, :-step])
    padded = height + 2 * distance
    place = number * padded + row + distance
    place_to_row = place.new_full((maps * padded,), len(rows))
    place_to_row[place] = torch.arange(len(rows), device=rows.device)
    near = window[:-1].clone()
    for step in range(1, distance + 1):
        for other in (place - step, place + step):
            torch.maximum(near, window.index_select(0, place_to_row[other]), out=near)
    return near


def _not_everywhere(cells: _Cells) -> _Cells:
    """Without the cells of maps of which every cell is a maximum: they are the same everywhere."""
    maps, height, width = cells.flat.shape
    is_flat = torch.bincount(cells.number, minlength=maps) == height * width
    return cells[~is_flat[cells.number]] if bool(is_flat.any()) else cells


def _high_enough(cells: _Cells, max_peaks: int) -> _Cells:
    """Cells of each map's `max_peaks` highest different values: no others can be taken.

    Maxima that are too near to each other are equal, or one would not be a maximum. So of every
    value at least one cell is taken, as long as peaks are wanted.
    """
    rank, most = cells.in_map()
    if most <= max_peaks:
        return cells
    table = cells.flat.new_full((len(cells.flat), most), -torch.inf)
    table[cells.number, rank] = cells.value
    falling = table.sort(dim=1, descending=True).values
    values_above = (falling[:, 1:] < falling[:, :-1]).cumsum(dim=1)
    later = falling[:, 1:].masked_fill(values_above >= max_peaks, torch.inf)
    lowest = torch.minimum(falling[:, 0], later.amin(dim=1))
    return cells[cells.value >= lowest[cells.number]]


def _first_of_plateaus(cells: _Cells) -> _Cells:
    """The first cell of each set of maxima that touch, side by side or at a corner."""
    if not len(cells.number):
        return cells
    width = cells.flat.shape[2]
    place = cells.place  # increasing
    pairs = []
    for down, right in _AFTER:
        wanted = place + down * width + right
        found = torch.searchsorted(place, wanted).clamp_(max=len(place) - 1)
        fits = (place[found] == wanted) & (cells.number[found] == cells.number)
        fits &= cells.column[found] == cells.column + right
        pairs.append(torch.stack([fits.nonzero()[:, 0], found[fits]]))
    one, other = torch.cat(pairs, dim=1)
    if not len(one):
        return cells
    own = torch.arange(len(place), device=place.device)
    first = own
    while True:  # the lowest number spreads over the plateau, in steps that double
        spread = first.scatter_reduce(0, other, first[one], "amin")
        spread = spread.scatter_reduce(0, one, spread[other], "amin")
        spread = spread[spread]
        if torch.equal(spread, first):
            return cells[first == own]
        first = spread


def _highest(cells: _Cells, distance: int, max_peaks: int) -> tuple[Tensor, Tensor, Tensor]:
    """Values, rows and columns (m, max_peaks) of the highest maxima that keep their distance."""
    maps = len(cells.flat)
    by_height = cells[cells.value.argsort(descending=True, stable=True)]
    sorted_cells = by_height[by_height.number.argsort(stable=True)]
    number = sorted_cells.number
    rank, most = sorted_cells.in_map()
    table = cells.flat.new_zeros(maps, max(most, 1))
    rows, columns = number.new_full((2, *table.shape), -1)
    for into, values in (
        (table, sorted_cells.value), (rows, sorted_cells.row), (columns, sorted_cells.column)
    ):  # fmt: skip
        into[number, rank] = values
    is_free = rows >= 0
    picks = number.new_empty(maps, max_peaks)
    taken = is_free.new_empty(maps, max_peaks)
    every = torch.arange(maps, device=number.device)
    for turn in range(max_peaks):
        pick = is_free.to(torch.uint8).argmax(dim=1)  # the first that is free, if one is
        picks[:, turn], taken[:, turn] = pick, is_free[every, pick]
        away = (rows - rows[every, pick, None]).abs()
        away = torch.maximum(away, (columns - columns[every, pick, None]).abs())
        is_free &= away >= distance
    return (
        table.gather(1, picks).where(taken, table.new_zeros(())),
        rows.gather(1, picks).where(taken, rows.new_full((), -1)),
        columns.gather(1, picks).where(taken, columns.new_full((), -1)),
    )
