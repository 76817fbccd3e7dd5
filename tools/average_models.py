"""Average the weights of trained models of one network, as for the shipped model.

    python tools/average_models.py MODEL... --out MEAN.safetensors

The mean of trainings that started from the same weights often lies in the same valley, lower than
each (Izmailov et al. 2018, arXiv 1803.05407). The batch statistics are not the mean of the models':
measure them anew by an epoch with next to no learning rate,

    histonuc train ... --init MEAN.safetensors --epochs 1 --max-lr 1e-9 --min-lr 1e-10
"""

from __future__ import annotations

import argparse
from pathlib import Path

from histonuc.models.loading import find_checkpoint
from histonuc.models.zoo import load_network, save_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", help="run folders, checkpoints or shipped models")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    models = [load_network(find_checkpoint(Path(name)) or Path(name)) for name in args.models]
    states = [model.state_dict() for model in models]
    if any(list(state) != list(states[0]) for state in states):
        raise SystemExit("expected models of one network")
    mean = {
        name: sum(state[name] for state in states) / len(states)
        if value.is_floating_point()
        else value
        for name, value in states[0].items()
    }
    models[0].load_state_dict(mean)
    print(f"wrote {save_network(models[0], args.out)}")


if __name__ == "__main__":
    main()
