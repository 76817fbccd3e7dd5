"""Settings of the augmentation, apart from it: the command line knows them without NumPy."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class AugmentConfig:
    """Probabilities and ranges; `AugmentConfig.off()` only crops."""

    flips: bool = True
    """Mirror at random, both axes."""
    rotations: bool = True
    """Turn by a random multiple of 90 degrees."""
    scale: float = 0.15
    """Largest relative change of size: 0.15 scales by 0.85 to 1.15."""
    elastic: float = 0.3
    """Probability of an elastic warp."""
    elastic_px: float = 4.0
    """Largest displacement of the elastic warp in pixels."""
    blur: float = 0.15
    """Probability of a Gaussian blur, sigma up to 1.5 px."""
    noise: float = 0.15
    """Probability of Gaussian noise, standard deviation up to 10 grey levels."""
    jpeg: float = 0.15
    """Probability of JPEG compression at quality 30 to 90."""
    brightness: float = 0.1
    """Largest relative change of brightness and contrast."""
    stain: float = 0.15
    """Largest relative change, and a third of it as shift, of each stain's optical density."""
    stain_transfer: float = 0.0
    """Probability of giving a crop the stain of another training tile (Macenko, torchstain)."""

    def __post_init__(self) -> None:
        for name in ("elastic", "blur", "noise", "jpeg", "stain_transfer"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(
                    f"--augment.{name.replace('_', '-')}: expected a probability in 0..1, "
                    f"got {getattr(self, name)}"
                )
        for name in ("scale", "brightness", "stain"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"--augment.{name}: expected a range in 0..1, got {getattr(self, name)}"
                )
        if self.elastic_px < 0:
            raise ValueError(f"--augment.elastic-px: expected at least 0, got {self.elastic_px}")

    @staticmethod
    def off() -> AugmentConfig:
        """Nothing but the random crop."""
        zero = {f.name: 0.0 for f in fields(AugmentConfig) if f.type == "float"}
        return AugmentConfig(flips=False, rotations=False, **zero)
