"""What the nuclei of the slides that taught look like, to say when another slide is unlike them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from histonuc.models.trust import Trust
from histonuc.teaching.classifier import Classifier
from histonuc.teaching.features import NucleusFeatures, sample_rows
from histonuc.teaching.fitting import Standard

SAMPLE = 20_000
"""Nuclei of each slide that tell what its nuclei look like."""
_MIN_TRUST = 500
"""Fewer nuclei tell nothing of what is usual."""
_SHRINKAGE = 0.1
"""Variance that is added along every axis of the standardised features."""


def learn_usual(
    classifier: Classifier,
    features: Sequence[NucleusFeatures],
    standard: Standard,
    rng: np.random.Generator,
) -> Trust | None:
    """What nuclei of the slides that taught look like, to tell other slides by; None of too few.

    Args:
        classifier: whose classes' means are the centres.
        features: of the slides.
        standard: of the features.
        rng: draws the nuclei.
    """
    rows = rng.permutation(sample_rows(features, SAMPLE, rng))
    if len(rows) < _MIN_TRUST:
        return None
    taught, judged = rows[::2], rows[1::2]
    given = (taught @ classifier.weights + classifier.bias).argmax(1)
    number, given = np.unique(given, return_inverse=True)
    centres = np.stack([taught[given == j].mean(0) for j in range(len(number))])
    around = (taught - centres[given]) / standard.scale
    values, axes = np.linalg.eigh(np.cov(around.T, dtype=np.float64))
    whitening = (axes / np.sqrt(values + _SHRINKAGE)).T / standard.scale
    trust = Trust(
        centres=centres.astype(np.float32),
        whitening=whitening.astype(np.float32),
        distances=np.zeros(1, np.float32),
    )
    quantiles = np.quantile(trust.measure(judged), np.linspace(0, 1, 201))
    return replace(trust, distances=np.sort(quantiles).astype(np.float32))
