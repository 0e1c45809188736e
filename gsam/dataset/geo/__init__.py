"""Objects in aerial and satellite images of any size, with their places on Earth: `gsam.geo`."""

from __future__ import annotations

from gsam.dataset.geo.engine import Summary as Summary
from gsam.dataset.geo.engine import segment as segment
