"""From vectors to labels: nuclear pixels vote for centres and go to the centre they vote for.

Time is linear in the pixels, whatever the number of nuclei. Places are (y, x) in pixels,
pixel centres at integers, unless they are said to be in cells: squares of `CELL_PX` pixels that
votes are counted in.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from histonuc.representations.kernels import density as density_kernels
from histonuc.representations.kernels import growth
from histonuc.representations.kernels import voting as voting_kernels
from histonuc.representations.kernels.regions import Runs, tidy_runs
from histonuc.representations.pooling import bands, check_finite

CELL_PX = 2
"""Side of a cell. Votes are shared bilinearly between cells, so places stay finer than that."""
_LEAST_BITS = int(np.float32(0.5).view(np.uint32))
"""Cells of a density below 0.5 votes belong to no maximum."""
_BUCKET_PX = 32
"""Centres are looked for in buckets of this side and those around: up to 32 px away and more."""
_GROWTH_PX = 3
"""How far a nucleus takes over nuclear pixels beside it whose votes went astray."""

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]


def votes_to_labels(
    nuclear: NDArray[np.bool_],
    offsets: Floats,
    *,
    blur_px: float,
    prominence: float,
    min_area_px: int,
) -> tuple[Ints, int]:
    """Nuclei of a tile.

    With offsets o and N(q) the nuclear pixels of the 3×3 around q, a pixel p lands on q = p + o(p)
    and votes for v(p) = mean of r + o(r) over r in N(q). Of the blurred density D of all v, two
    maxima a, b stay apart if every path between them falls below `prominence` · min(D(a), D(b)).

    1. Every nuclear pixel lands where its vector points. Pixels that land together vote together:
       for the mean of where the nuclear pixels around that place (3x3) point, which are near the
       centre, so that their vectors are short and right.
    2. The votes' density is cut into its maxima. Two of them are one where the density between them
       does not fall below `prominence` times the lower one.
    3. A maximum is a centre if more than a third of the nuclear pixels around it point to it rather
       than to another one: half-way between two nuclei, where a vector field is undecided, few do;
       at a centre on the very rim of its nucleus, as a bent one's may be, about half do.
    4. Each pixel goes to the centre nearest to where it landed. Pieces that are cut off from their
       nucleus go to a neighbour.

    Args:
        nuclear: bool (H, W).
        offsets: float32 (2, H, W), the way (y, x) in pixels to the centre.
        blur_px: standard deviation of the Gaussian that smooths the density.
        prominence: 0..1; smaller merges more.
        min_area_px: least votes of a centre and least area of a nucleus.

    Returns:
        int32 (H, W) with ids 1..n, and n.

    Raises:
        ValueError: NaN or infinite offsets.
    """
    landed = _land(nuclear, offsets)
    centres = _find_centres(landed, nuclear, offsets, blur_px, prominence, min_area_px)
    owners = _nearest(landed.places, centres, nuclear.shape)
    labels, origin, strays = tidy_runs(_split(landed, owners, nuclear.shape), min_area_px)
    _grow(labels, centres[origin - 1], strays, landed)
    return labels, len(origin)


@dataclass(frozen=True, eq=False)
class _Landed:
    """Nuclear pixels and the places they landed on.

    Attributes:
        pixels: (n,), flat indices of the nuclear pixels.
        first: (H + 1,), number of each row's first one.
        landing: (n,), number of the place each landed on.
        places: (k, 2), within the image.
        votes: (k, 2), where the nuclear pixels around each place point on average.
        number: (k,), how many pixels landed on each.
    """

    pixels: Ints
    first: Ints
    landing: Ints
    places: Floats
    votes: Floats
    number: Floats


def _land(nuclear: NDArray[np.bool_], offsets: Floats) -> _Landed:
    most = np.count_nonzero(nuclear)
    pixels, landing = np.empty((2, most), np.int32)
    first = np.zeros(len(nuclear) + 1, np.int32)
    places, votes = np.empty((2, most, 2), np.float32)
    number = np.zeros(most, np.float32)
    known = np.zeros(nuclear.shape, np.int32)
    done = 0
    for rows in bands(*nuclear.shape):
        check_finite(offsets[:, rows[0] : rows[1]])
        num = voting_kernels.land(
            nuclear, offsets, rows, done, known, pixels, first, landing, places, number
        )
        voting_kernels.follow(places[done:num], nuclear, offsets, votes[done:num])
        done = num
    return _Landed(pixels, first, landing, places[:done], votes[:done], number[:done])


def _find_centres(
    landed: _Landed,
    nuclear: NDArray[np.bool_],
    offsets: Floats,
    blur_px: float,
    prominence: float,
    least: int,
) -> Floats:
    """Steps 1 to 3 of `votes_to_labels`; centres (k, 2)."""
    height, width = nuclear.shape
    cells = (-(-height // CELL_PX), -(-width // CELL_PX))
    scale = (cells[0] / height, cells[1] / width)  # symmetric also where a side is odd
    votes = landed.votes
    density = np.zeros(cells, np.float32)
    density_kernels.count(votes, landed.number, scale, density)
    maxima, num = _find_maxima(_blurred(density, blur_px / CELL_PX), prominence)
    sums = np.zeros((num + 1, 3))
    density_kernels.add_votes(votes, landed.number, maxima, scale, sums)
    sums = sums[1:][sums[1:, 2] >= least]
    centres = (sums[:, :2] / sums[:, 2:]).astype(np.float32)
    around = np.empty((9 * len(centres), 2), np.float32)
    owner = np.empty(len(around), np.int32)
    looked = voting_kernels.look_around(centres, nuclear, offsets, around, owner)
    around, owner = around[:looked], owner[:looked]
    loyal = owner[_nearest(around, centres, nuclear.shape) == owner + 1]
    asked, counted = (np.bincount(some, minlength=len(centres)) for some in (owner, loyal))
    return np.asarray(centres[3 * counted > asked])


def _blurred(density: Floats, sigma: float) -> Floats:
    blurred = cv2.GaussianBlur(density, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(blurred, np.float32)


def _find_maxima(density: Floats, prominence: float) -> tuple[Ints, int]:
    """Maximum (1..k) of each cell of the density, in a frame of zeros, and k."""
    keys = np.empty(density.size, np.uint64)
    keys = keys[: density_kernels.rank_cells(density.ravel().view(np.uint32), _LEAST_BITS, keys)]
    keys.sort()
    owner = np.zeros((density.shape[0] + 2, density.shape[1] + 2), np.int32)
    parent, peak = np.zeros(len(keys) + 1, np.int32), np.zeros(len(keys) + 1, np.float32)
    return owner, density_kernels.find_maxima(density, keys, prominence, owner, parent, peak)


def _nearest(points: Floats, centres: Floats, shape: tuple[int, int]) -> Ints:
    """Number (1..k) of the centre nearest to each point (n, 2); 0 where none is near."""
    last = np.zeros((shape[0] // _BUCKET_PX + 3, shape[1] // _BUCKET_PX + 3), np.int32)
    before, safe = np.zeros(len(centres) + 1, np.int32), np.empty(len(centres) + 1)
    nearest = np.empty(len(points), np.int32)
    guesses = np.zeros((shape[0] // 8 + 1, shape[1] // 8 + 1), np.int32)
    voting_kernels.find_nearest(points, centres, _BUCKET_PX, last, before, safe, guesses, nearest)
    return nearest


def _split(landed: _Landed, owners: Ints, shape: tuple[int, int]) -> Runs:
    """Labels: nuclear pixels have the owner of their place."""
    runs = Runs.empty(2 * len(landed.pixels) + shape[0], shape)
    num = voting_kernels.split(
        landed.pixels,
        landed.landing,
        owners,
        landed.first,
        shape[1],
        runs.start,
        runs.end,
        runs.value,
        runs.begin,
    )
    return runs.first(num)


def _grow(labels: Ints, centres: Floats, strays: Ints, landed: _Landed) -> None:
    """Give nuclear pixels that lost their nucleus, in place, to the one beside them they point to.

    That is the one whose centre is nearest to where the pixel landed.
    """
    if len(strays) == 0:
        return
    place = landed.landing[np.searchsorted(landed.pixels, strays)]
    aims, taken = landed.places[place], np.empty_like(strays)
    for _ in range(_GROWTH_PX):
        growth.grow(labels, centres, strays, aims, taken)
