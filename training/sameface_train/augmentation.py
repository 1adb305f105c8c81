"""Augmentations by kornia: random changes that another sample of the same identity could show. Seeds: torch's."""

from dataclasses import dataclass
from functools import cache

import kornia.augmentation as kornia
import torch
import torch.nn.functional as functional
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far images are changed; zeros change nothing. Rates are shares of the images, 0..1."""

    degrees: float = 0.0
    """Rotation, up to this much either way."""
    shift: float = 0.0
    """Translation as a share of the side."""
    scale: float = 0.0
    """Size, 1 ± scale."""
    shear: float = 0.0
    """Degrees."""
    mirror: float = 0.0
    """Rate of mirrored images."""
    light: float = 0.0
    """Brightness, contrast and saturation, 1 ± light, of half of the images."""
    low_resolution: float = 0.0
    """Rate of images that lose detail: reduced to between a fifth and three quarters of the side, and enlarged."""
    occlusion: float = 0.0
    """Rate of images with a rectangle blacked out (random erasing, Zhong et al. 2020)."""


FACES = Augmentation(degrees=3.0, shift=0.02, scale=0.04, mirror=0.5, light=0.2, low_resolution=0.2, occlusion=0.05)
DRAWINGS = Augmentation(degrees=12.0, shift=0.08, scale=0.2, shear=15.0)
SIGNATURES = Augmentation(degrees=4.0, shift=0.04, scale=0.1, shear=6.0)
NONE = Augmentation()


def augment(images: Tensor, augmentation: Augmentation, side: int | tuple[int, int]) -> Tensor:
    """Return float images [N, C, height, width], 0..255, changed at random and cut to their middle ``side`` pixels.

    If images are larger than ``side``, rotation and translation bring in picture at the border, not black.
    """
    changed = images / 255.0
    if augmentation != NONE:
        changed = _geometry(augmentation)(changed)
        if augmentation.light:
            changed = _light(augmentation)(changed)
        if augmentation.low_resolution:
            changed = _low_resolution(changed, augmentation.low_resolution)
    changed = centre(changed, side)
    if augmentation.occlusion:
        changed = kornia.RandomErasing((0.02, 0.2), p=augmentation.occlusion)(changed)
    return (changed * 255.0).clamp(0.0, 255.0)


def centre(images: Tensor, side: int | tuple[int, int]) -> Tensor:
    """Return the middle of images [N, C, H, W]."""
    height, width = (side, side) if isinstance(side, int) else side
    top, left = (images.shape[2] - height) // 2, (images.shape[3] - width) // 2
    return images[:, :, top : top + height, left : left + width]


@cache
def _geometry(augmentation: Augmentation) -> nn.Module:
    steps: list[nn.Module] = []
    if augmentation.degrees or augmentation.shift or augmentation.scale or augmentation.shear:
        steps.append(
            kornia.RandomAffine(
                degrees=augmentation.degrees,
                translate=(augmentation.shift, augmentation.shift),
                scale=(1.0 - augmentation.scale, 1.0 + augmentation.scale),
                shear=augmentation.shear or None,
                p=1.0,
            )
        )
    if augmentation.mirror:
        steps.append(kornia.RandomHorizontalFlip(p=augmentation.mirror))
    return nn.Sequential(*steps)


@cache
def _light(augmentation: Augmentation) -> nn.Module:
    return kornia.ColorJiggle(augmentation.light, augmentation.light, augmentation.light, p=0.5)


def _low_resolution(images: Tensor, rate: float) -> Tensor:
    chosen = torch.rand(len(images)) < rate
    if not chosen.any():
        return images
    share = float(torch.empty(()).uniform_(0.2, 0.75))
    small = functional.interpolate(images[chosen], scale_factor=share, mode="area")
    images = images.clone()
    images[chosen] = functional.interpolate(small, size=images.shape[2:], mode="bilinear")
    return images
