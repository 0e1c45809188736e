"""SAM 2 on video: one frame and its objects at a time, their memories in and out.

Source: sam2/modeling/sam2_base.py.

Everything is pure and has fixed shapes.  Which memories an object has on a frame, and in what order
frames come, is decided on the host (`gsam.tracking`).
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from gsam.bind import param
from gsam.models.sam2.config import Config
from gsam.models.sam2.memory import MemoryAttention, MemoryEncoder, moment_code
from gsam.models.sam2.model import Answer, Features, Sam2Image
from gsam.models.sam2.port import TRACKER_LAYOUTS
from gsam.models.stage import ModelStage
from gsam.nn.layers import Linear, Mlp, PatchEmbed
from gsam.nn.prompt import PAD
from gsam.ops.resize import bilinear
from gsam.ops.top import in_chunks
from gsam.ops.views import IMAGENET_MEAN, IMAGENET_STD, normalise
from gsam.types import Bank, Images, MemoryConfig, Params, View

LAYOUTS = TRACKER_LAYOUTS
"""Layouts of the whole model's checkpoints."""
ABSENT_LOGIT = -1024.0
"""The logit of every pixel of an object that is not there."""
SCALE, BIAS = 20.0, -10.0
"""Scale and shift of masks before they are encoded, and of given masks to become logits."""
CHUNK, WIDE = 1, 8
"""Number of objects at a time, on a CPU and elsewhere."""


class ObjectMasks(NamedTuple):
    """Masks of N objects on one frame, with their scores and pointers."""

    logits: jax.Array
    """[N, 4h, 4w] float32, all `ABSENT_LOGIT` where the object is not there."""
    iou: jax.Array
    """[N] float32, predicted."""
    score: jax.Array
    """[N] float32 logits: above 0 the object is there."""
    pointer: jax.Array
    """[N, D] float32."""


class Sam2(Sam2Image):
    """SAM 2 with its memory."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        width, memory = config.width, config.mem_dim
        self.memory_attention = MemoryAttention(width, memory, config.memory_mlp, config.memory_layers, config.grid)
        self.memory_encoder = MemoryEncoder(width, memory)
        self.maskmem_tpos_enc = param(config.num_maskmem, 1, 1, memory)
        self.no_mem_pos_enc = param(1, 1, width)  # in the files; nothing reads it where no_mem_embed is added directly
        self.no_obj_ptr = param(1, width)
        self.mask_downsample = PatchEmbed(4, 1, 1)
        self.obj_ptr_proj = Mlp(width, width, width)
        if config.v21:
            self.no_obj_embed_spatial = param(1, memory)
            self.obj_ptr_tpos_proj = Linear(width, memory)

    def read_memory(self, begun: jax.Array, bank: Bank) -> jax.Array:
        """Condition a frame on one object's bank: its embedding [h, w, D].

        ``begun``: what `gsam.models.sam2.memory.MemoryAttention.begin` gave of the frame.
        """
        ages = self.maskmem_tpos_enc[...][:, 0, 0]
        code = moment_code(bank.offsets, bank.span, self.config.width)
        moments = self.obj_ptr_tpos_proj(code) if self.config.v21 else jnp.zeros((len(code), self.config.mem_dim))
        return self.memory_attention(begun, bank, ages, moments)

    def decode_objects(
        self,
        features: Features,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array | None = None,
        has_mask: jax.Array | None = None,
        *,
        multimask: bool,
        dynamic: bool = True,
    ) -> ObjectMasks:
        """Decode as `Sam2Image.decode` does, to one mask per object, its presence and its
        pointer.
        """
        return self.best_masks(
            self.decode(features, points, labels, mask, has_mask, multimask=multimask, dynamic=dynamic)
        )

    def best_masks(self, answer: Answer) -> ObjectMasks:
        """Choose the mask of each object whose predicted IoU is highest; what is not there has no
        mask and its own pointer.
        """
        best = answer.iou.argmax(1)[:, None]
        logits = jnp.take_along_axis(answer.logits, best[..., None, None], 1)[:, 0]
        token = jnp.take_along_axis(answer.tokens, best[..., None], 1)[:, 0]
        there = answer.object_score > 0
        logits = jnp.where(there[:, None, None], logits, ABSENT_LOGIT)
        pointer = self.pointer(self.obj_ptr_proj(token).astype(jnp.float32), there)
        return ObjectMasks(logits, jnp.take_along_axis(answer.iou, best, 1)[:, 0], answer.object_score, pointer)

    def pointer(self, pointer: jax.Array, there: jax.Array) -> jax.Array:
        """Replace the pointers [N, D] of objects that are not ``there`` [N]."""
        return jnp.where(there[:, None], pointer, self.no_obj_ptr[...].astype(jnp.float32))

    def from_mask(self, features: Features, masks: jax.Array) -> ObjectMasks:
        """Take masks [N, S, S] of 0 and 1 as if they had been found on a frame without memory."""
        side = 4 * self.config.grid
        given = masks.astype(jnp.float32)
        low = jax.image.resize(SCALE * given + BIAS, (len(given), side, side), "linear", precision="highest")
        prompt = self.mask_downsample(given[..., None])[..., 0]
        points, labels = no_prompt(len(given))
        found = self.decode_objects(features, points, labels, prompt, jnp.ones(len(given), bool), multimask=False)
        there = (given > 0).any((1, 2))
        score = jnp.where(there, SCALE + BIAS, BIAS)
        return ObjectMasks(low, jnp.ones(len(given)), score, self.pointer(found.pointer, there))

    def encode_memory(self, features: Features, logits: jax.Array, score: jax.Array, prompted: jax.Array) -> jax.Array:
        """Encode masks [N, 4h, 4w] on one frame, as logits, into memories [N, h w, E].

        Probabilities are encoded, of ``prompted`` [N] masks what is above 0.
        """
        size = self.config.image_size
        large = bilinear(logits, size, size)
        sure = jnp.where(prompted[:, None, None], (large > 0).astype(jnp.float32), jax.nn.sigmoid(large))
        memory = self.memory_encoder(features.embedding, SCALE * sure + BIAS)
        if self.config.v21:
            gone = (score <= 0)[:, None, None]
            memory = memory + jnp.where(gone, self.no_obj_embed_spatial[...].astype(memory.dtype), 0)
        return memory


def no_prompt(n: int) -> tuple[jax.Array, jax.Array]:
    """Points and labels of N objects without a prompt: "not a point", and its padding."""
    return jnp.zeros((n, 2, 2), jnp.float32), jnp.full((n, 2), PAD, jnp.int32)


@dataclasses.dataclass(frozen=True, eq=False)
class Sam2Tracker(ModelStage[Sam2]):
    """SAM 2 as a `gsam.roles.Tracker`."""

    config: Config
    chunk: int = 0
    """Objects at a time, which bounds the memory; 0 for `CHUNK` on a CPU and `WIDE` elsewhere."""
    dynamic_multimask: bool = True
    """See `gsam.models.sam2.Sam2Segmenter.dynamic_multimask`."""

    module: ClassVar[type[Sam2]] = Sam2

    @property
    def memory(self) -> MemoryConfig:
        """The official configuration of the memory."""
        config = self.config
        return MemoryConfig(config.num_maskmem, config.max_obj_ptrs, (config.grid**2, config.mem_dim), config.width)

    @property
    def mask_size(self) -> int:
        """Rows and columns of low-resolution logits."""
        return 4 * self.config.grid

    @property
    def absent_logit(self) -> float:
        """The logit of absent objects, `ABSENT_LOGIT`."""
        return ABSENT_LOGIT

    @property
    def view(self) -> View:
        """The original's view of frames in a folder: Pillow's bicubic to the square."""
        return View(self.config.image_size, "squash", "bicubic")

    def features(self, params: Params, images: Images) -> Features:
        """Encode frames as features [B, ...].  Pure."""
        x = images.view(self.view).astype(jnp.float32) / 255.0
        return self.spec.bind(params).encode(normalise(x, IMAGENET_MEAN, IMAGENET_STD, params["no_mem_embed"].dtype))

    def add_points(
        self,
        params: Params,
        features: Features,
        points: jax.Array,
        labels: jax.Array,
        mask: jax.Array,
        has_mask: jax.Array,
        bank: Bank | None = None,
        *,
        multimask: bool,
    ) -> ObjectMasks:
        """Segment objects by points and boxes.  Pure.

        Args:
            params: The model's parameters.
            features: One frame's, without a leading axis.
            points: [N, P, 2] x y in pixels of the view.
            labels: [N, P] as in `gsam.nn.prompt`.
            mask: [N, 4h, 4w] logits of an earlier answer.
            has_mask: [N] bool: which objects have one.
            bank: [N, ...] the objects' memories, if the frame was tracked before; None for none.
            multimask: Whether to choose among three masks.
        """
        model = self.spec.bind(params)
        more = {"multimask": multimask, "dynamic": self.dynamic_multimask}
        if bank is None:
            return model.decode_objects(model.without_memory(features), points, labels, mask, has_mask, **more)
        begun = model.memory_attention.begin(features.embedding)
        own = jax.lax.map(lambda b: model.read_memory(begun, b), bank)
        return model.decode_objects(features._replace(embedding=own), points, labels, mask, has_mask, **more)

    def add_mask(self, params: Params, features: Features, masks: jax.Array) -> ObjectMasks:
        """Take masks [N, S, S] bool over the view as the user's.  Pure."""
        return self.spec.bind(params).from_mask(features, masks)

    def track(self, params: Params, features: Features, bank: Bank, valid: jax.Array) -> tuple[ObjectMasks, jax.Array]:
        """Track objects without a prompt on this frame.  Pure.

        Args:
            params: The model's parameters.
            features: One frame's, without a leading axis.
            bank: [N, ...] the objects' memories.
            valid: [N] bool: which objects exist.  The results of the others mean nothing, and a
                chunk without a valid one takes no time.

        Returns:
            Masks of the objects, and their memories [N, h w, E] bfloat16.
        """
        model = self.spec.bind(params)
        begun = model.memory_attention.begin(features.embedding)

        def work(bank: Bank) -> tuple[ObjectMasks, jax.Array]:
            own = jax.vmap(lambda b: model.read_memory(begun, b))(jax.tree.map(lambda x: x[0], bank))
            points, labels = no_prompt(len(own))
            masks = model.decode_objects(features._replace(embedding=own), points, labels, multimask=True)
            memory = model.encode_memory(features, masks.logits, masks.score, jnp.zeros(len(own), bool))
            return jax.tree.map(lambda x: x[None], (masks, memory.astype(jnp.bfloat16)))

        rows = jax.tree.map(lambda x: x[None], bank)
        found = in_chunks(work, rows, valid[None], self.chunk or CHUNK, self.chunk or WIDE)
        return jax.tree.map(lambda x: x[0], found)

    def encode_memory(
        self, params: Params, features: Features, logits: jax.Array, score: jax.Array, prompted: jax.Array
    ) -> jax.Array:
        """Encode masks as memories [N, h w, E] bfloat16, as the original keeps them.  Pure.

        Args:
            params: The model's parameters.
            features: One frame's, without a leading axis.
            logits: [N, 4h, 4w].
            score: [N] logits of the objects' presence.
            prompted: [N] bool: masks that the user gave a prompt for.
        """
        return self.spec.bind(params).encode_memory(features, logits, score, prompted).astype(jnp.bfloat16)


def supports(config: Config) -> bool:
    """Return true for a model with a memory: HQ-SAM 2 has none for its finer masks."""
    return not config.hq


spec, build = Sam2Tracker.spec_of, Sam2Tracker.from_params
