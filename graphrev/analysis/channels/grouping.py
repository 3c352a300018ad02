"""What a reshape does to one axis: keeps it, joins it with its neighbours, or takes that back."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from graphrev.analysis.channels.tracking import MOST_CHANNELS, Atoms, Regrouping
from graphrev.analysis.dims import Dim, product


def regrouped(old: Sequence[Dim], new: Sequence[Dim], axis: int, atoms: Atoms) -> Regrouping | None:
    """Where the channels along ``axis`` lie after a reshape from ``old`` to ``new``.

    ``None`` where channels are mixed with other axes or sizes are not known.
    """
    return _joined(old, new, axis) or _parted(old, new, axis, atoms)


def _joined(old: Sequence[Dim], new: Sequence[Dim], axis: int) -> Regrouping | None:
    """The axis by itself, or joined with neighbours of known size, is one axis of the output."""
    for first in range(axis, -1, -1):
        for last in range(axis, len(old)):
            sizes = [dim for dim in old[first : last + 1] if isinstance(dim, int)]
            if len(sizes) != last + 1 - first or math.prod(sizes) > MOST_CHANNELS:
                break
            place = _place(old, new, first, last + 1, math.prod(sizes))
            if place is not None:
                before = math.prod(sizes[: axis - first])
                behind = math.prod(sizes[axis - first + 1 :])
                alone = np.arange(sizes[axis - first], dtype=np.int64)
                return Regrouping(axis, place, np.tile(np.repeat(alone, behind), before))
    return None


def _place(old: Sequence[Dim], new: Sequence[Dim], first: int, end: int, size: int) -> int | None:
    """The axis of ``new`` that holds exactly what the axes ``first`` to ``end`` of ``old`` do."""
    before, behind = product(old[:first]), product(old[end:])
    for place, dim in enumerate(new):
        if dim == size and product(new[:place]) == before and product(new[place + 1 :]) == behind:
            return place
    return None


def _parted(old: Sequence[Dim], new: Sequence[Dim], axis: int, atoms: Atoms) -> Regrouping | None:
    """The axis becomes several, of which one holds the channels (a flattening taken back)."""
    before, behind = product(old[:axis]), product(old[axis + 1 :])
    for first in range(len(new)):
        for end in range(first + 2, len(new) + 1):
            sizes = [dim for dim in new[first:end] if isinstance(dim, int)]
            fits = len(sizes) == end - first and math.prod(sizes) == len(atoms)
            if fits and product(new[:first]) == before and product(new[end:]) == behind:
                return _only_axis(atoms.reshape(sizes), axis, first)
    return None


def _only_axis(atoms: Atoms, old: int, first: int) -> Regrouping | None:
    places = np.arange(atoms.size, dtype=np.int64).reshape(atoms.shape)
    for axis, size in enumerate(atoms.shape):
        one = tuple(slice(None) if a == axis else slice(1) for a in range(atoms.ndim))
        if size > 1 and (atoms == atoms[one]).all():
            copies = np.indices(atoms.shape)[axis].ravel()
            return Regrouping(old, first + axis, places[one].ravel(), copies)
    return None
