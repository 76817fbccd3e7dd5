"""A class head of its own: it reads several levels of the decoder, on a coarser grid than the maps.

What a nucleus is shows in other features than where it ends: in coarser ones, and in its
surroundings. Classes at stride 4 cost a sixteenth of what full-size ones do, and a nucleus's are
pooled over its pixels anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from histonuc.trunks.base import build_head, conv_bn_relu, init_weights, upsample


class ClassBranch(nn.Module):
    """Class logits of a trunk's levels: each projected, summed from coarse to fine, and classified.

    With `hidden` 0 the projections give the logits themselves: a linear classifier, which can be
    fitted to features that were pooled over nuclei (`tools/fit_classes.py`).

    Args:
        channels: of the levels, coarsest first; each has twice the size of the one before.
        num_classes: C.
        hidden: channels of the sum; 0 for the classes themselves.
        dropout: share of the sum's channels that training leaves out, 0 to 1.
        detach: keep the gradient of the classes out of the trunk.
        context: channels of a dilated 3x3 convolution of the coarsest level that is read beside
            it: it sees 160 pixels more to each side. 0 for none.

    Raises:
        ValueError: a trunk without levels, or a bad value.
    """

    def __init__(
        self,
        channels: Sequence[int],
        num_classes: int,
        *,
        hidden: int = 48,
        dropout: float = 0.0,
        detach: bool = False,
        context: int = 0,
    ) -> None:
        super().__init__()
        if not channels:
            raise ValueError("class_branch: this trunk offers no levels to read; compact does")
        if hidden < 0 or not 0 <= dropout < 1 or context < 0:
            raise ValueError(
                "class_branch: expected hidden >= 0, dropout from 0 to below 1 and context >= 0, "
                f"got {hidden}, {dropout} and {context}"
            )
        self.detach = detach
        wide = channels[0]
        self.context = conv_bn_relu(wide, context, 3, dilation=5) if context else None
        sizes = [wide + context, *channels[1:]]
        last = len(sizes) - 1
        self.project = nn.ModuleList(
            nn.Conv2d(size, hidden or num_classes, 1, bias=level == last)
            for level, size in enumerate(sizes)
        )
        self.dropout = nn.Dropout2d(dropout)
        init_weights(self)
        self.classify = build_head(hidden, num_classes) if hidden else None

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """Logits (B, C, h, w) at the size of the finest level, of the trunk's levels."""
        if self.detach:
            levels = [level.detach() for level in levels]
        first = levels[0]
        if self.context is not None:
            first = torch.cat([first, self.context(first)], 1)
        total = self.project[0](first)
        for project, level in zip(list(self.project)[1:], levels[1:], strict=True):
            total = upsample(total, 2) + project(level)
        if self.classify is None:
            return cast("Tensor", total)
        return cast("Tensor", self.classify(self.dropout(total.relu())))
