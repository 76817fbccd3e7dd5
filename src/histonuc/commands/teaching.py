"""Commands that teach classes of a person's own, and use them."""

from __future__ import annotations

from pathlib import Path

from histonuc.commands.outcome import Outcome


def teach(
    results: tuple[Path, ...],
    *,
    out: Path,
    embeddings: bool = True,
    labels_only: bool = False,
    model: str = "",
    sources: tuple[str, ...] = (),
    folds: tuple[int, ...] = (),
    overwrite: bool = False,
    seed: int = 0,
) -> Outcome:
    """Teach a classifier with the classes that people gave nuclei, and say how good it is.

    Args:
        results: Folders of `histonuc predict` with corrections, each of one input or of many; or a
            store of `histonuc prepare`, whose labels then teach.
        out: Folder for classifier.safetensors and report.json.
        embeddings: Learn from the network's features of the nuclei, which are made from the slides
            where predict was run without --embeddings. --no-embeddings learns from shape, stain
            and neighbourhood alone, and is much less good.
        labels_only: Learn from people's labels alone. Otherwise nuclei that the model is sure of
            make up the number in those of its classes that have fewer than 50 labels, as in the
            viewer.
        model: Whose features of a store's nuclei to learn from; results have those of their own.
        sources: Data sets of a store; all when not given.
        folds: Folds of a store; all when not given.
        overwrite: Replace a classifier that is there.
        seed: Seed of the cross-validation.
    """
    from histonuc.teaching.teach import teach, teach_store

    if len(results) == 1 and (results[0] / "store.json").is_file():
        report = teach_store(
            results[0],
            out,
            model=model or "default",
            sources=sources,
            folds=folds,
            embeddings=embeddings,
            overwrite=overwrite,
            seed=seed,
        )
    elif model or sources or folds:
        raise ValueError("--model, --sources and --folds belong to a store; results have their own")
    else:
        report = teach(
            results,
            out,
            embeddings=embeddings,
            labels_only=labels_only,
            overwrite=overwrite,
            seed=seed,
        )
    return Outcome(lines=report.lines(), data=report.record)


def classify(results: tuple[Path, ...], *, classifier: Path, out: Path) -> Outcome:
    """Give the nuclei of finished results the classes of a classifier; no network runs.

    Args:
        results: Folders of `histonuc predict`, each of one input or of many.
        classifier: What `histonuc teach` wrote.
        out: Folder for the new results, one folder inside for each; the old ones stay.
    """
    from histonuc.teaching.classify import classify_results

    summary = classify_results(results, classifier, out)
    return Outcome(
        lines=summary.lines(), data=summary.to_dict(), exit_code=1 if summary.failed else 0
    )


def audit(
    data: Path,
    *,
    out: Path,
    model: str = "default",
    sources: tuple[str, ...] = (),
    num: int = 100,
) -> Outcome:
    """List the labels that are most likely wrong, with pictures, the most suspicious first.

    Args:
        data: A store of `histonuc prepare`, or the folder of a result with corrections.
        out: Folder for audit.html and audit.csv.
        model: Whose features of a store's nuclei to look at; shape and stain alone where it gives
            none. A result has those of its own model.
        sources: Data sets of the store; all when not given.
        num: How many labels to list.
    """
    from histonuc.reporting.audit import write_audit_page
    from histonuc.teaching.audit import audit

    found = audit(data, model=model, sources=sources, num=num)
    found.write_csv(out / "audit.csv")
    write_audit_page(found, out / "audit.html")
    lines = [*found.lines(), f"wrote {out / 'audit.html'} and {out / 'audit.csv'}"]
    return Outcome(lines=lines, data=found.to_dict())
