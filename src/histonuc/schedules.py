"""Learning-rate schedules in closed form: the rate of a step depends on the step alone.

Nothing is remembered between calls, so that resuming, rewinding and plotting cannot disagree with
training. The steppers this replaces (see `CosineRestarts`) gave wrong rates after both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CosineRestarts:
    """Cosine annealing with warm-up and restarts (Loshchilov & Hutter 2017, arXiv 1608.03983).

    Cycle ``c`` has ``int((n - w) * m) + w`` steps, n being the cycle before it, and its peak is
    ``max_lr * gamma ** c``. It rises linearly from ``min_lr`` over ``warmup_steps``, then falls
    along half a cosine back to ``min_lr``. Equal to katsura's ``CosineAnnealingWarmupRestarts``
    stepped once a step.

    Attributes:
        first_cycle_steps: length of the first cycle, warm-up included.
        cycle_mult: factor on the falling part's length from cycle to cycle, at least 1.
        max_lr: peak of the first cycle.
        min_lr: rate at the start and end of every cycle.
        warmup_steps: length of the rise, shorter than the first cycle.
        gamma: factor on the peak from cycle to cycle.
    """

    first_cycle_steps: int
    cycle_mult: float = 1.0
    max_lr: float = 1e-3
    min_lr: float = 1e-6
    warmup_steps: int = 0
    gamma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.warmup_steps < self.first_cycle_steps:
            raise ValueError(
                "the warm-up must be shorter than the first cycle: got "
                f"{self.warmup_steps} of {self.first_cycle_steps} steps"
            )
        if not self.cycle_mult >= 1 or not 0 < self.gamma <= 1:
            raise ValueError(
                f"expected cycle_mult >= 1 and 0 < gamma <= 1, got {self.cycle_mult}, {self.gamma}"
            )
        if not 0 <= self.min_lr <= self.max_lr:
            raise ValueError(f"expected 0 <= min_lr <= max_lr, got {self.min_lr}, {self.max_lr}")

    def cycle(self, step: int) -> tuple[int, int, int]:
        """Cycle number, step within it, and its length.

        >>> CosineRestarts(first_cycle_steps=10, cycle_mult=2, warmup_steps=3).cycle(12)
        (1, 2, 17)
        """
        if step < 0:
            raise ValueError(f"expected a step of at least 0, got {step}")
        number, length = 0, self.first_cycle_steps
        while step >= length:  # lengths grow geometrically: a handful of rounds
            step -= length
            number += 1
            grown = int((length - self.warmup_steps) * self.cycle_mult) + self.warmup_steps
            if grown == length:  # now and, rounded down, for ever
                return number + step // length, step % length, length
            length = grown
        return number, step, length

    def at(self, step: int) -> float:
        """Rate of optimiser step `step`, counted from 0."""
        number, within, length = self.cycle(step)
        peak = max(self.max_lr * self.gamma**number, self.min_lr)
        if within < self.warmup_steps:
            return self.min_lr + (peak - self.min_lr) * within / self.warmup_steps
        fallen = (within - self.warmup_steps) / (length - self.warmup_steps)
        return self.min_lr + (peak - self.min_lr) * (1 + math.cos(math.pi * fallen)) / 2
