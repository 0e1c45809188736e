"""X-AnyLabeling's own window, without a screen: ``python x_anylabeling_window.py SETTINGS IMAGE``.

Run by the Python that has X-AnyLabeling.  It opens an image, chooses the remote server, types words
and presses its button, clicks, and clicks again; each step is a line of JSON on stdout with the
controls that can be seen and the shapes that are there.
"""

import json
import os
import sys
import time
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

    def tell(self, step: str) -> None:
        """Print what can be seen."""
        seen = [name for name in CONTROLS if getattr(self.tool, name).isVisibleTo(self.tool)]
        shapes = [
            {"label": one.label, "kind": one.shape_type, "points": [[p.x(), p.y()] for p in one.points]}
            for one in self.view.canvas.shapes
        ]
        models = [self.models.itemData(i) for i in range(self.models.count())]
        print(json.dumps({"step": step, "models": models, "seen": seen, "shapes": shapes}), flush=True)

    def click(self, *points: tuple[float, float, int]) -> None:
        """Give all points of an object, (x, y, 1 or 0), as the canvas does after each click.

        In this thread: in its own, the program sometimes begins nothing.
        """
        manager = self.tool.model_manager
        manager.set_auto_labeling_marks([{"type": "point", "data": [x, y], "label": label} for x, y, label in points])
        manager.predict_shapes(self.view.image, self.image)
        self.app.processEvents()


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
    sys.stdout.flush()
    os._exit(0)  # closing would ask whether to save


if __name__ == "__main__":
    main()
