"""A small result whose nuclei are squares in a row, and operations on it."""

from pathlib import Path

import numpy as np

from histonuc.corrections import Operation, Target, read_table_facts
from histonuc.exports import TABLE_FILE, read_table, write_table
from histonuc.nuclei import Nuclei
from histonuc.taxonomy import THREE

SIDE = 10.0


def square(x, y, side=SIDE):
    """A ring, clockwise on the screen."""
    return np.array([[x, y], [x + side, y], [x + side, y + side], [x, y + side]], np.float64)


def draw_row(num=6, gap=20.0, start=10.0):
    """Squares of 10 px; the classes take turns."""
    rings = [square(start + i * gap, start) for i in range(num)]
    return Nuclei(
        points=np.concatenate([np.zeros((0, 2)), *rings]),
        offsets=np.arange(num + 1) * 4,
        centroid=np.array([ring.mean(0) for ring in rings]).reshape(-1, 2),
        class_probabilities=(0.1 + 0.7 * np.eye(3, dtype=np.float32))[np.arange(num) % 3],
        score=np.full(num, 0.75, np.float32),
        label_space=THREE,
        mpp=0.25,
        features={
            "solidity": np.full(num, 0.5, np.float32),
            "eosin_od": np.full(num, 0.25, np.float32),
        },
    )


def write_row(folder: Path, nuclei=None):
    """A result's folder with the table alone."""
    nuclei = draw_row() if nuclei is None else nuclei
    facts = {"source": "slide.png", "image_size": [400, 100], "model_sha256": "ab" * 32}
    folder.mkdir(parents=True, exist_ok=True)
    write_table(nuclei, folder / TABLE_FILE, facts)
    return folder


def target(nuclei, number):
    """A nucleus of the table as operations have it."""
    i = number - 1
    return Target(
        id=number,
        class_name=THREE.classes[int(nuclei.class_index[i])],
        x=float(nuclei.centroid[i, 0]),
        y=float(nuclei.centroid[i, 1]),
        ring=nuclei.contour(i),
    )


def made_target(reference, ring, class_name="Connective"):
    x, y = ring.mean(0).tolist()
    return Target(id=reference, class_name=class_name, x=x, y=y, ring=ring)


def maker(folder: Path, by="ann"):
    """A function that makes operations on the result of a folder."""
    facts, nuclei = read_table_facts(folder / TABLE_FILE), read_table(folder / TABLE_FILE)

    def make(do, *numbers, **fields):
        fields = {
            name: np.asarray(value, object).ravel().tolist() if name == "ring" else value
            for name, value in fields.items()
        }
        if "rings" in fields:
            fields["rings"] = [ring.ravel().tolist() for ring in fields["rings"]]
        targets = tuple(one if isinstance(one, Target) else target(nuclei, one) for one in numbers)
        return Operation(
            do=do,
            nuclei=targets,
            fields=fields,
            by=by,
            table=facts.sha256,
            model=facts.model_sha256,
        )

    return make
