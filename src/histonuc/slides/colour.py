"""Colours as the scanner's ICC profile means them; off by default, the models never saw it on."""

from __future__ import annotations

import io
import threading
from dataclasses import replace
from functools import partial

import numpy as np

from histonuc.slides.protocol import RGB, Contents, Level, RefusedError


def with_srgb(contents: Contents) -> Contents:
    """The same slide with every level turned into sRGB by the profile inside it.

    Raises:
        RefusedError: it has none, or a damaged one.
    """
    from PIL import ImageCms

    if contents.icc_profile is None:
        raise RefusedError("it has no ICC profile: leave --icc away")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(contents.icc_profile))
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "RGB", "RGB")
    except (ImageCms.PyCMSError, OSError) as error:
        raise RefusedError(f"its ICC profile is damaged: {error}") from None
    lock = threading.Lock()  # a transform keeps its last colour

    def apply(level: Level, x: int, y: int, w: int, h: int) -> RGB:
        from PIL import Image

        image = Image.fromarray(level.read(x, y, w, h))
        with lock:
            ImageCms.applyTransform(image, transform, inPlace=True)
        return np.asarray(image)

    levels = [replace(level, read=partial(apply, level)) for level in contents.levels]
    return replace(contents, levels=tuple(levels))
