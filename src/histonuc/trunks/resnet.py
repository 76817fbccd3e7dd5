"""torchvision's ResNets as encoders, and the loading of its weights."""

from __future__ import annotations

import logging
import pickle
import zipfile
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from torch import Tensor, nn

logger = logging.getLogger(__name__)

STAGE_CHANNELS = (256, 512, 1024, 2048)
"""Channels of layer1 to layer4 of ResNet-50, -101 and -152."""


def build_resnet(depth: int, *, pretrained: bool, trunk: str) -> nn.Module:
    """ResNet `depth` without its classifier; its forward gives the four stages by index.

    Args:
        depth: 50, 101 or 152.
        pretrained: load torchvision's ImageNet weights.
        trunk: name for error messages.
    """
    import torchvision
    from torchvision.models._utils import IntermediateLayerGetter

    resnet = getattr(torchvision.models, f"resnet{depth}")(weights=None)
    if pretrained:
        resnet.load_state_dict(torchvision_state(imagenet_weights(depth), trunk))
    stages = {f"layer{stage}": str(stage - 1) for stage in range(1, 5)}
    encoder: nn.Module = IntermediateLayerGetter(resnet, stages)
    return encoder


def imagenet_weights(depth: int) -> Any:
    """Where torchvision keeps the ImageNet weights of ResNet `depth`."""
    import torchvision

    return getattr(torchvision.models, f"ResNet{depth}_Weights").IMAGENET1K_V1


def torchvision_state(weights: Any, trunk: str) -> dict[str, Tensor]:
    """State dict of a torchvision weights entry, from torch hub's cache or the network.

    Raises:
        ValueError: neither has it, or the cached file is damaged; says where to put the file.
    """
    file = Path(torch.hub.get_dir()) / "checkpoints" / str(weights.url).rsplit("/", 1)[-1]
    if not file.is_file():
        logger.info("fetching %s once, to %s; --no-pretrained does without", weights.url, file)
    try:
        state: dict[str, Tensor] = weights.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (URLError, OSError) as error:
        raise ValueError(
            f"{trunk}: no network to fetch the pretrained weights {weights.url} ({error}). "
            f"Pass pretrained=False (--no-pretrained), or put the file at {file}"
        ) from None
    except (RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{trunk}: the pretrained weights {file} are damaged ({error}): delete the file "
            f"and fetch {weights.url} again, or pass pretrained=False (--no-pretrained)"
        ) from None
    return state
