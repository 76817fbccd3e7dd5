"""Classes of a person's own: a classifier that a few labelled nuclei teach in seconds."""

from histonuc.teaching.classifier import Classified, Classifier, read_classifier, write_classifier
from histonuc.teaching.features import NucleusFeatures, read_features
from histonuc.teaching.live import LiveClassifier, Proposal

__all__ = [
    "Classified",
    "Classifier",
    "LiveClassifier",
    "NucleusFeatures",
    "Proposal",
    "read_classifier",
    "read_features",
    "write_classifier",
]
