"""How often images are flagged as unlike H&E: as they are, and altered so that they should be.

    python benchmarks/bench_flags.py [--data ../shared/data] [--mpp 0.3125]

Every image of ../shared/data goes through `flag_image` and `is_defocused` as it is, blurred, grey,
dark as fluorescence, and in one stain's colours; at their own scale, or resampled to the one that a
model works at. Prints a Markdown table of how many are flagged,
by data set: false alarms in its first row. The bounds were set on these very images, validation
fold included.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from histonuc.data.resampling import resample
from histonuc.inference.quality import DEFOCUSED, flag_image, is_defocused

Image = np.ndarray


def blurred(image: Image, mpp: float, um: float) -> Image:
    """Out of focus by a Gaussian of so many microns."""
    return cv2.GaussianBlur(image, (0, 0), um / mpp)


def stained(image: Image, hue: tuple[float, float, float]) -> Image:
    """The same densities in one colour: shares of red, green and blue absorbed, whose mean is 1."""
    density = -np.log10((image.astype(np.float32) + 1) / 256).mean(2, keepdims=True)
    return (256 * 10 ** -(density * np.float32(hue)) - 1).clip(0, 255).astype(np.uint8)


def grey(image: Image) -> Image:
    """Three equal channels."""
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)


ALTERED: dict[str, Callable[[Image, float], Image]] = {
    "as it is": lambda image, mpp: image,
    "blurred by 0.75 µm": lambda image, mpp: blurred(image, mpp, 0.75),
    "blurred by 2 µm": lambda image, mpp: blurred(image, mpp, 2.0),
    "grey": lambda image, mpp: grey(image),
    "inverted, a fifth as bright (fluorescence)": lambda image, mpp: (255 - grey(image)) // 5,
    "one brown stain (DAB)": lambda image, mpp: stained(image, (0.6, 1.0, 1.4)),
    "one green stain": lambda image, mpp: stained(image, (1.4, 0.5, 1.1)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--mpp", type=float, default=0.0, help="a model's; 0 for each image's own")
    args = parser.parse_args()
    images: Counter[str] = Counter()
    flags: Counter[tuple[str, str]] = Counter()
    kinds: dict[str, Counter[str]] = {name: Counter() for name in ALTERED}
    with (args.data / "index.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        source, mpp = row["dataset"], float(row["mpp"] or 0.25)
        path = next((args.data / source / "images").glob(f"{row['name']}.*"))
        image = cv2.imread(str(path))[..., ::-1]
        images[source] += 1
        for name, alter in ALTERED.items():
            altered, seen = np.ascontiguousarray(alter(image, mpp)), args.mpp or mpp
            sides = (round(side * mpp / seen) for side in (image.shape[1], image.shape[0]))
            altered = resample(altered, *sides)
            flag = flag_image(altered)
            if not flag and is_defocused(altered, seen, mpp):
                flag = DEFOCUSED
            flags[name, source] += bool(flag)
            kinds[name][flag or "none"] += 1
    sources = sorted(images)
    print("| image | " + " | ".join(f"{s}, {images[s]}" for s in sources) + " | flags |")
    print("|" + "---|" * (len(sources) + 2))
    for name in ALTERED:
        told = ", ".join(f"{flag} {count}" for flag, count in kinds[name].most_common())
        print(f"| {name} | " + " | ".join(str(flags[name, s]) for s in sources) + f" | {told} |")


if __name__ == "__main__":
    main()
