"""DeepLabV3 on ResNet."""

from __future__ import annotations

from torch import Tensor, nn

from histonuc.trunks.base import Trunk, TrunkFeatures
from histonuc.trunks.resnet import imagenet_weights, torchvision_state

_NUM_COCO_CLASSES = 21
WEIGHTS = ("coco", "imagenet")


class DeepLabV3(Trunk):
    """torchvision's DeepLabV3: dilated ResNet (output stride 8), ASPP, and an FCN head beside.

    Paper: Chen, Papandreou, Schroff, Adam, "Rethinking Atrous Convolution for Semantic Image
    Segmentation", arXiv 1706.05587. Code: torchvision.models.segmentation.

    The two final 1x1 convolutions are left to the model (its head and auxiliary head), everything
    before them is torchvision's, so its COCO weights fit. The auxiliary branch, on layer3, runs in
    training only. Deviations: none.
    """

    training_only = ("aux",)

    def __init__(
        self,
        *,
        pretrained: bool = False,
        depth: int = 101,
        weights: str = "coco",
        freeze_backbone_except_layer4: bool = False,
    ) -> None:
        """Build the network.

        Args:
            pretrained: load torchvision's weights.
            depth: depth of the ResNet, 50 or 101.
            weights: ``coco`` (everything) or ``imagenet`` (the ResNet only).
            freeze_backbone_except_layer4: train layer4 and the heads only, as the seed did; the
                frozen layers' batch statistics stay as they are.
        """
        if weights not in WEIGHTS:
            raise ValueError(f"deeplabv3: unknown weights {weights!r}; choose from {list(WEIGHTS)}")
        super().__init__(
            out_channels=256,
            aux_channels=256,
            size_multiple=8,
            min_size=32,
            freezable=tuple(
                f"backbone.{n}" for n in ("conv1", "bn1", "layer1", "layer2", "layer3")
            ),
        )
        network = _build_torchvision(depth)
        if pretrained:
            _load(network, depth, weights)
        self.backbone = network.get_submodule("backbone")
        self.aspp = nn.Sequential(*list(network.get_submodule("classifier").children())[:-1])
        self.aux = nn.Sequential(*list(network.get_submodule("aux_classifier").children())[:-1])
        if freeze_backbone_except_layer4:
            self.freeze_encoder()

    def forward(self, x: Tensor) -> TrunkFeatures:
        """Features at stride 8.

        Raises:
            ValueError: training on one image; the batch norm on ASPP's pooled pixel needs two.
        """
        if self.training and len(x) == 1:
            raise ValueError(
                "deeplabv3 cannot train on a batch of one image (batch norm after its global "
                "pooling): use --batch-size 2 or more on each device, and drop a last batch of one"
            )
        stages = self.backbone(x)
        main = self.aspp(stages["out"])
        return TrunkFeatures(main, self.aux(stages["aux"]) if self.training else None)


def _build_torchvision(depth: int) -> nn.Module:
    from torchvision.models import segmentation

    network: nn.Module = getattr(segmentation, f"deeplabv3_resnet{depth}")(
        weights=None, weights_backbone=None, num_classes=_NUM_COCO_CLASSES, aux_loss=True
    )
    return network


def _load(network: nn.Module, depth: int, weights: str) -> None:
    from torchvision.models import segmentation

    trunk = f"deeplabv3_resnet{depth}"
    if weights == "coco":
        entry = getattr(segmentation, f"DeepLabV3_ResNet{depth}_Weights")
        network.load_state_dict(torchvision_state(entry.COCO_WITH_VOC_LABELS_V1, trunk))
        return
    state = torchvision_state(imagenet_weights(depth), trunk)
    backbone = network.get_submodule("backbone")
    backbone.load_state_dict({key: state[key] for key in backbone.state_dict()})
