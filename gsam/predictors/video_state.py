"""The part of `gsam.VideoPredictor` that keeps states of videos in files."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

from gsam.errors import UsageError
from gsam.inputs.video import open_frames
from gsam.predictors.embedding import fingerprint
from gsam.roles import Tracker
from gsam.runtime.rebuild import Rebuildable
from gsam.tracking import session_file
from gsam.tracking.session import Session


class KeepsStates(Rebuildable):
    """Saves and loads what `gsam.VideoPredictor.init_state` began."""

    model: Tracker
    name: str

    def save_state(self, inference_state: Session, path: str | os.PathLike[str]) -> Path:
        """Write objects, prompts and memories of a state to a file, whole or not at all.

        The video is not in it. ``copy.deepcopy(state)`` is a copy in memory.

        Args:
            inference_state: What `init_state` returned.
            path: The file to write, ``.safetensors``.

        Returns:
            The path.

        Raises:
            gsam.errors.UsageError: The ending is another, or the id of an object is neither text
                nor a whole number.

        Example:
            >>> predictor = gsam.VideoPredictor("nano_sam2", progress=False)
            >>> frames = [np.zeros((48, 64, 3), np.uint8)] * 3
            >>> state = predictor.init_state(frames)
            >>> _ = predictor.add_new_points_or_box(state, 0, "left", [[20, 20]], [1])
            >>> kept = predictor.save_state(state, "state.safetensors")
            >>> predictor.load_state(kept, frames)["obj_ids"]
            ['left']
        """
        session_file.save(inference_state, Path(path), self.name, self._fingerprint)
        return Path(path)

    def load_state(self, path: str | os.PathLike[str], video_path: Any) -> Session:
        """Open a video with the objects that `save_state` wrote, to go on where they were.

        Args:
            path: The file.
            video_path: The same video, as `init_state` takes it.

        Returns:
            The state.

        Raises:
            gsam.errors.UsageError: The file is damaged, or of another model or video.
            gsam.errors.VideoError: The video cannot be opened.
        """
        frames = open_frames(video_path)
        if not frames.seekable:
            raise UsageError(
                f"{frames.name} is live: a state is of a video whose frames can be read again", "video_live"
            )
        return session_file.load(Path(path), frames, self.name, self._fingerprint)

    @functools.cached_property
    def _fingerprint(self) -> str:
        return fingerprint(self.model)
