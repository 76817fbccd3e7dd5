"""What a path is: `describe` gives the facts for programs and a few lines for people."""

from histonuc.inspection.describe import describe
from histonuc.inspection.description import Description

__all__ = ["Description", "describe"]
