"""U-Net: a lesion mask from the phases of a slice, as channels.

Ronneberger, Fischer and Brox, U-Net: convolutional networks for biomedical image segmentation,
MICCAI 2015.

MONAI's `BasicUNet` at the published widths. Where it and we depart from the paper, as nearly
everyone does:
- convolutions are padded, so that the mask has the size of the image, and each is followed by
  BatchNorm (Ioffe and Szegedy, ICML 2015);
- the last upsampling keeps its 128 channels (the paper halves them), which adds 0.2 % of the
  parameters;
- the cross-entropy is not weighted by the distance to touching cells, and there is no dropout at
  the end of the contracting path.

Shape suffixes: B slices, P phases, Y rows, X columns.
"""

from __future__ import annotations

from dataclasses import dataclass

from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor

from liverleaf.models.baselines.family import segmentation_family
from liverleaf.models.baselines.segmentation import SegmentationNetwork


@dataclass(frozen=True)
class UNetConfig:
    """What a U-Net is made of; the defaults are the published network.

    Attributes:
        phases: how many contrast phases go in, as channels.
        size: side of the square input in pixels, not fixed by the network.
        widths: channels of the five levels, finest first.
    """

    phases: int = 4
    size: int = 256
    widths: tuple[int, int, int, int, int] = (64, 128, 256, 512, 1024)


class UNet(SegmentationNetwork):
    """The U-Net of 2015: five levels of two convolutions, with skips."""

    cross_entropy, dice = 1.0, 0.0

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.network = BasicUNet(
            2,
            config.phases,
            1,
            features=(*config.widths, config.widths[0]),
            act="RELU",
            norm="BATCH",
        )

    def forward(self, images_BPYX: Tensor) -> Tensor:
        """Mask logits of shape (B, 1, Y, X), float32."""
        return self.network(images_BPYX).float()


FAMILY = segmentation_family("unet", UNetConfig, UNet)
