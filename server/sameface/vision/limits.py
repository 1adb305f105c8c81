"""What one photo may cost."""

from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt

from sameface.errors import ImageTooLarge

SETTINGS = "SAMEFACE_IMAGE__"
"""The settings that raise these limits begin with this, and go on with the limit's name in capitals."""


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits of a photo."""

    max_bytes: Annotated[int, Ge(1)] = 16 << 20
    max_pixels: Annotated[int, Ge(1)] = 50_000_000
    """Width times height of a JPEG, which can be decoded at a reduced size."""
    max_pixels_whole: Annotated[int, Ge(1)] = 25_000_000
    """Width times height of other formats, which must be decoded at full size."""
    max_scan_pixels: Annotated[int, Ge(1)] = 1_000_000_000
    """Width times height times scans of a JPEG, for example 20 scans at 50 megapixels. More than 100 scans are refused
    at any size."""
    max_cpu_s: Annotated[float, Gt(0)] = 5.0
    """Seconds of processor time to decode one photo. The largest allowed photos take about one second."""
    max_side: Annotated[int, Ge(112)] = 1600
    """Longest side of a decoded photo; larger photos are reduced. Enough for a 112×112 crop of a small face."""

    def check_bytes(self, count: int) -> None:
        """Raise ImageTooLarge if a file of ``count`` bytes is too long."""
        if count > self.max_bytes:
            raise too_large(
                f"the image has {count} bytes; at most {self.max_bytes} are allowed",
                "max_bytes",
                bytes=count,
                limit=self.max_bytes,
            )

    def check_pixels(self, name: str, width: int, height: int) -> None:
        """Raise ImageTooLarge if an image of the format ``name`` has too many pixels."""
        setting = "max_pixels" if name == "JPEG" else "max_pixels_whole"
        most = self.max_pixels if name == "JPEG" else self.max_pixels_whole
        if width * height > most:
            raise too_large(
                f"the {name} image is {width}×{height} = {width * height} pixels; at most {most} are allowed",
                setting,
                width=width,
                height=height,
                limit=most,
            )

    def check_scans(self, scans: int, width: int, height: int) -> None:
        """Raise ImageTooLarge if a JPEG of this size has too many scans."""
        most = max(1, self.max_scan_pixels // max(1, width * height))
        if scans > most:
            raise too_large(
                f"the JPEG image of {width}×{height} pixels has {scans} scans; at most {most} are allowed for its "
                "size; save it again as an ordinary JPEG",
                "max_scan_pixels",
                scans=scans,
                width=width,
                height=height,
                limit=most,
            )


def too_large(message: str, setting: str, **metadata: object) -> ImageTooLarge:
    """Return the error for a photo above the limit ``setting``, a field of `ImageLimits`. It names the setting."""
    name = SETTINGS + setting.upper()
    return ImageTooLarge(f"{message}; the setting {name} raises this limit", metadata={**metadata, "setting": name})
