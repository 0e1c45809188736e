"""X-AnyLabeling's own window, without a screen: ``x_anylabeling_window.py SETTINGS IMAGE FRAMES``.

Run by the Python that has X-AnyLabeling.  It opens an image, chooses the remote server, types words
and presses its button, clicks, and clicks again; then it opens a folder of frames, types words for
one and runs all, clicks and runs all again.  Each step is a line of JSON on stdout with the
controls that can be seen and the shapes that are there, of frames those that are saved.
"""

import json
import os
import sys
import time
import types
from collections.abc import Callable
from typing import Any

os.environ["QT_QPA_PLATFORM"] = "offscreen"
CONTROLS = (
    "edit_text", "button_send", "edit_conf", "toggle_preserve_existing_annotations", "button_add_point",
    "button_remove_point", "button_add_rect", "button_clear", "button_finish_object", "mask_fineness_slider",
)  # fmt: skip
PATIENCE = 60.0
"""Seconds until a step has to have ended."""


class Window:
    """The window with an image open and the remote server chosen.

    Args:
        settings: A YAML file of X-AnyLabeling's settings.
        image: The image.
    """

    def __init__(self, settings: str, image: str) -> None:
        import anylabeling.config as config
        import anylabeling.resources.resources  # noqa: F401
        from PyQt6.QtWidgets import QApplication

        self.app, self.image = QApplication([]), image
        config.current_config_file = settings
        from anylabeling.views.mainwindow import MainWindow

        self.window = MainWindow(self.app, config=config.get_config(), filename=image)
        self.window.show()
        self.view = self.window.labeling_widget.view
        self.tool = self.view.auto_labeling_widget
        self.threads: list[Any] = []  # it lets go of its own too early, which ends the program
        self.until(lambda: self.view.image is not None and not self.view.image.isNull())
        self.tool.show()
        known = self.tool.model_manager.model_configs
        self.tool.model_manager.load_model(next(one["config_file"] for one in known if one["type"] == "remote_server"))
        self.until(lambda: self.models.count() > 0)

    @property
    def models(self) -> Any:
        """The list of the server's models."""
        return self.tool.remote_server_select_combobox

    def until(self, there: Callable[[], bool]) -> None:
        """Let the window work until something is there, and then until its thread has ended."""
        end = time.monotonic() + PATIENCE
        ended = 0.0
        self.threads.append(self.tool.model_manager.model_execution_thread)
        while time.monotonic() < ended or not there() or self.busy():
            if not ended and there() and not self.busy():
                ended = time.monotonic() + 1.0
            self.app.processEvents()
            time.sleep(0.02)
            if time.monotonic() > end:
                raise SystemExit("a step did not end in time")

    def busy(self) -> bool:
        """Whether it waits for the server."""
        thread = self.tool.model_manager.model_execution_thread
        try:
            return thread is not None and thread.isRunning()
        except RuntimeError:  # taken away already
            return False

    def tell(self, step: str, **more: Any) -> None:
        """Print what can be seen, and more."""
        seen = [name for name in CONTROLS if getattr(self.tool, name).isVisibleTo(self.tool)]
        shapes = [
            {"label": one.label, "kind": one.shape_type, "points": [[p.x(), p.y()] for p in one.points]}
            for one in self.view.canvas.shapes
        ]
        models = [self.models.itemData(i) for i in range(self.models.count())]
        print(json.dumps({"step": step, "models": models, "seen": seen, "shapes": shapes, **more}), flush=True)

    def click(self, *points: tuple[float, float, int]) -> None:
        """Give all points of an object, (x, y, 1 or 0), as the canvas does after each click.

        In this thread: in its own, the program sometimes begins nothing.
        """
        manager = self.tool.model_manager
        manager.set_auto_labeling_marks([{"type": "point", "data": [x, y], "label": label} for x, y, label in points])
        manager.predict_shapes(self.view.image, self.image)
        self.app.processEvents()

    def open_frames(self, folder: str) -> None:
        """Open a folder, choose the model of videos, and show the first frame."""
        count = len(os.listdir(folder))
        self.view.import_image_folder(folder)
        self.until(lambda: len(self.view.image_list) == count)
        self.image = self.view.image_list[0]
        self.models.setCurrentIndex(self.models.findData("gsam-video"))

    def run_all(self) -> dict[str, Any]:
        """Run all frames, as the button does after its question; the shapes that are saved.

        The open frame is left out: the window saves what it shows of it.
        """
        from anylabeling.views.labeling.utils import batch

        batch.BatchRangeDialog = Range
        files = [os.path.splitext(image)[0] + ".json" for image in self.view.image_list[1:]]
        for file in filter(os.path.exists, files):
            os.remove(file)
        batch.run_all_images(self.view)
        self.until(lambda: all(map(os.path.exists, files)))
        found = {}
        for file in files:
            with open(file) as text:
                found[os.path.basename(file)] = json.load(text)["shapes"]
        return found


class Range:
    """In place of the question which images are run: all."""

    def __init__(self, count: int, first: int, parent: Any = None) -> None:
        self.numbers = first, count

    def exec(self) -> Any:
        from PyQt6.QtWidgets import QDialog

        return QDialog.DialogCode.Accepted

    @property
    def from_input(self) -> Any:
        return types.SimpleNamespace(value=lambda: self.numbers[0])

    @property
    def to_input(self) -> Any:
        return types.SimpleNamespace(value=lambda: self.numbers[1])


def main() -> None:
    window = Window(sys.argv[1], sys.argv[2])
    window.tell("models")
    window.tool.edit_text.setText("dog. pizza.")
    window.tool.button_send.click()
    window.until(lambda: len(window.view.canvas.shapes) > 1)
    window.tell("words")
    window.models.setCurrentIndex(1)
    window.tool.button_add_point.click()
    window.click((40, 100, 1))
    window.tell("click")
    window.click((40, 100, 1), (60, 40, 0))
    window.tell("clicks")
    window.open_frames(sys.argv[3])
    window.tool.edit_text.setText("cow.")
    window.tool.button_send.click()
    window.until(lambda: {one.label for one in window.view.canvas.shapes} == {"cow"})
    window.tell("words of a video", frames=window.run_all())
    window.tool.button_add_point.click()
    window.click((120, 110, 1))
    window.tell("a click of a video", frames=window.run_all())
    sys.stdout.flush()
    os._exit(0)  # closing would ask whether to save


if __name__ == "__main__":
    main()
