"""`histonuc predict --classifier`: the classes of a person's own on new slides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from histonuc.exports.summary import SlideResult
from histonuc.inference.options import PredictOptions
from histonuc.inference.predict import PredictSummary, predict
from histonuc.models.engines import num_cores
from histonuc.models.loading import load_model
from histonuc.teaching.classifier import CLASSIFIER_FILE, read_classifier
from histonuc.teaching.classify import classify_result


def predict_classified(
    paths: Sequence[Path], out: Path, options: PredictOptions, classifier: Path
) -> PredictSummary:
    """As `histonuc.inference.predict.predict`, with the classes of a classifier.

    Each slide is classified when all its nuclei are known, as neighbours tell of each other.

    Args:
        paths: images, slides, and folders that are searched for them.
        out: folder for the results.
        options: of the run.
        classifier: what `histonuc teach` wrote, a file or its folder.

    Raises:
        ValueError: as of `predict`; no classifier, or one of another model.
    """
    file = classifier / CLASSIFIER_FILE if classifier.is_dir() else classifier
    read, sha256 = read_classifier(file)
    options = replace(
        options, classifier=file, embeddings=options.embeddings or read.embedding_size > 0
    )
    wanted = options.model, options.device, options.precision
    model = load_model(*wanted, streams=num_cores(), flips=options.flips)
    if read.embedding_size and read.model_sha256 != model.sha256:
        raise ValueError(
            f"--classifier {classifier} was taught with the model {read.model} "
            f"({read.model_sha256[:12]}), --model {options.model} is {model.name} "
            f"({model.sha256[:12]}): its features say nothing to the classifier; give the same "
            "model, or teach with this one"
        )

    def classify(result: SlideResult) -> SlideResult:
        if result.classifier_sha256 == sha256:
            return result
        folder = Path(result.folder)
        return classify_result(folder, folder, read, sha256, name=str(classifier))

    return predict(paths, out, options, model=model, finish=classify)
