"""Commands about model files."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from histonuc.commands.outcome import Outcome
from histonuc.field_checks import read_options


def list_models() -> Outcome:
    """List the installed models, and every trunk with its parameters and GFLOPs."""
    from histonuc.extras import is_installed
    from histonuc.models.loading import list_shipped

    lines = ["installed models (histonuc predict --model NAME)"]
    models, failed = list_shipped()
    shipped = [model.to_dict() for model in models]
    for row in shipped:
        sizes = ", ".join(f"{kind} {size:.1f} MB" for kind, size in row["size_mb"].items())
        lines += [
            f"  {row['name']:<24} {row['trunk']} × {row['representation']}, {row['mpp']} mpp: "
            f"{', '.join(row['classes'])}",
            f"  {'':<24} {sizes}",
        ]
    lines += [f"  {name:<24} cannot be used: {reason}" for name, reason in failed.items()]
    data: dict[str, Any] = {"shipped": shipped, "failed": failed}
    exit_code = 1 if failed else 0
    if not is_installed("train"):
        lines += ["", "the trunks need torch to be listed: pip install 'histonuc[train]'"]
        return Outcome(lines=lines, data=data, exit_code=exit_code)
    from histonuc.models.zoo import model_table
    from histonuc.parts import part_names
    from histonuc.representations import REPRESENTATIONS

    trunks = model_table()
    lines += ["", f"{'trunk':<22}{'parameters':>14}{'GFLOPs at 256 px':>18}"]
    lines += [
        f"{row.trunk:<22}{row.num_parameters / 1e6:>12.2f} M{row.gflops:>18.1f}" for row in trunks
    ]
    representations = [*REPRESENTATIONS, *part_names("representation", REPRESENTATIONS)]
    lines += ["", f"every trunk works with every representation: {', '.join(representations)}"]
    data["trunks"] = [asdict(row) for row in trunks]
    return Outcome(lines=lines, data=data, exit_code=exit_code)


def export_model(
    model: Path,
    *,
    out: Path,
    to: Literal["onnx", "openvino", "safetensors"] = "onnx",
    precision: Literal["fp32", "fp16", "int8"] = "fp32",
    data: Path | None = None,
    folds: tuple[int, ...] = (),
    representation_options: dict[str, Any] | None = None,
) -> Outcome:
    """Turn a trained model into a file that predicts without torch, and compare the two.

    Args:
        model: A run folder, a checkpoint, or a shipped model that has one (`histonuc models`).
        out: File to write, *.onnx, or *.xml (with *.bin beside it) for openvino.
        to: Format of the file; safetensors is one to train on from, and needs torch.
        precision: Number format of the stored weights; fp16 halves the file and changes nothing
            else, int8 is arithmetic too and needs --data.
        data: Store with real tiles, for int8's ranges and for the comparison.
        folds: Folds of the store to use, those of the training for int8; all when not given.
        representation_options: Options of the decoder to change:
            --representation-options.min-area-px 60.
    """
    from histonuc.models.export import export_model as export

    parity = export(
        model,
        out,
        to=to,
        precision=precision,
        representation_options=read_options(representation_options or {}),
        data=data,
        folds=folds,
    )
    size = sum(f.stat().st_size for f in (out, out.with_suffix(".bin")) if f.is_file()) / 1e6
    return Outcome(
        lines=[f"wrote {out} ({size:.1f} MB)", *parity.lines()],
        data={"file": str(out), "size_mb": size, **parity.to_dict()},
    )
