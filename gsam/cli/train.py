"""``gsam train``: fine-tune a model on your own labelled images, killed and resumed exactly.

Each command has its own file, and all share `gsam.cli.train_options`.
"""

from __future__ import annotations

from gsam.cli import train_classifier, train_detector, train_segmenter
from gsam.cli.options import HELP, command_app

app = command_app()


@app.callback(no_args_is_help=True, context_settings=HELP)
def train() -> None:
    """Fine-tune a model on your own labelled images.

    The result is a model like any other: name its folder wherever a model is named.
    """


app.command("segmenter", no_args_is_help=True, context_settings=HELP)(train_segmenter.segmenter)
app.command("classifier", no_args_is_help=True, context_settings=HELP)(train_classifier.classifier)
app.command("detector", no_args_is_help=True, context_settings=HELP)(train_detector.detector)
