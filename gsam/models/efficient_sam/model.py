"""EfficientSAM: SAM's prompts on a small plain ViT (Xiong et al.

2023; original: yformer/EfficientSAM).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from gsam.models.efficient_sam.config import Config
from gsam.models.efficient_sam.decoder import MaskDecoder, PromptEncoder
from gsam.models.efficient_sam.encoder import ImageEncoder


class EfficientSam(nnx.Module):
    """A plain ViT with a prompt encoder and a mask decoder like SAM's."""

    def __init__(self, config: Config) -> None:
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self.grid = config.grid

    def decode(
        self, features: jax.Array, points: jax.Array, labels: jax.Array, *, best: bool = False
    ) -> tuple[jax.Array, jax.Array]:
        """Decode N prompts on one image.

        Args:
            features: Image embedding [h, w, D].
            points: [N, P, 2] x y in pixels of the view.
            labels: [N, P] as in `gsam.nn.prompt`.
            best: Whether to return only the mask of the highest predicted IoU.

        Returns:
            Logits [N, 3, 4h, 4w] and predicted IoU [N, 3]; with ``best`` [N, 1, ...].
        """
        centre = (np.arange(self.grid, dtype=np.float32) + 0.5) / self.grid
        code = self.prompt_encoder.pe_layer.grid(centre)
        return self.mask_decoder(features, code, self.prompt_encoder(points, jnp.asarray(labels)), best=best)
