"""Images of red and blue nuclei, and a person who says which are which."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from histonuc.corrections import CorrectionLog, Operation, Target, read_table_facts
from histonuc.exports import TABLE_FILE, read_table


def draw(path: Path, seed: int, size: tuple[int, int] = (1000, 800), num: int = 250) -> Path:
    """An image with dark discs on pink, half of them red and half blue, of many shades."""
    rng = np.random.default_rng(seed)
    image = np.full((size[1], size[0], 3), (230, 180, 210), np.uint8)
    image[::2, ::2] = (210, 160, 190)
    placed: list[tuple[int, int]] = []
    while len(placed) < num:
        x, y = int(rng.integers(12, size[0] - 12)), int(rng.integers(12, size[1] - 12))
        if all((x - a) ** 2 + (y - b) ** 2 > 22**2 for a, b in placed):
            shade = int(rng.integers(0, 30))
            colour = (90, 30 + shade, 50) if len(placed) % 2 else (60, 30 + shade, 110)
            cv2.circle(image, (x, y), int(rng.integers(5, 9)), colour, -1)
            placed.append((x, y))
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])
    return path


def is_red(folder: Path, image: Path) -> np.ndarray:
    """Whether each nucleus (n,) of a result is red, as its image shows."""
    pixels = cv2.imread(str(image))[..., ::-1].astype(int)
    x, y = read_table(folder / TABLE_FILE).centroid.T.astype(int)
    return pixels[y, x, 0] > pixels[y, x, 2]


class Labeller:
    """Says the classes of nuclei of a result, as a person does in the viewer."""

    def __init__(self, folder: Path) -> None:
        self.nuclei = read_table(folder / TABLE_FILE)
        facts = read_table_facts(folder / TABLE_FILE)
        self.log, self.facts = CorrectionLog(folder), facts
        for name, colour in (("Red", "#ff0000"), ("Blue", "#0000ff")):
            self.do("define_class", name=name, colour=colour, digit=None)

    def do(self, do: str, *numbers: int, **fields) -> None:
        targets = tuple(self.target(number) for number in numbers)
        operation = Operation(
            do=do,
            nuclei=targets,
            fields=fields,
            by="ann",
            table=self.facts.sha256,
            model=self.facts.model_sha256,
        )
        self.log.append(operation)

    def target(self, number: int) -> Target:
        row = number - 1
        x, y = self.nuclei.centroid[row].tolist()
        return Target(id=number, class_name="Nucleus", x=x, y=y, ring=self.nuclei.contour(row))

    def label(self, red: np.ndarray, rows) -> None:
        for name, wanted in (("Red", True), ("Blue", False)):
            numbers = [int(row) + 1 for row in rows if red[row] == wanted]
            self.do("classify", *numbers, **{"class": name})
