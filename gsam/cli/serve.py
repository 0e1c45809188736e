"""``gsam serve``: words and clicks over HTTP, a page, and the protocols of labelling tools."""

from __future__ import annotations

import logging
import os
from typing import Annotated

from typer import Option

from gsam.cli.options import (
    HELP,
    Classifier,
    Detector,
    Device,
    DType,
    Recipe,
    Segmenter,
    Tracker,
    WeightsDir,
    command_app,
    given_of,
)
from gsam.dataset.report import tell
from gsam.errors import UsageError

app = command_app()
NEEDED = "the server needs FastAPI and uvicorn: pip install 'gsam-jax[serve]'"


@app.command(context_settings=HELP)
def serve(
    pipeline: Recipe = "nano",
    predictor: Annotated[
        str | None, Option("--predictor", help="The model that answers clicks.  [default: the recipe's segmenter]")
    ] = None,
    host: Annotated[str, Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Option(help="Port to listen on; 0 for any that is free.")] = 8000,
    token: Annotated[
        str | None, Option(envvar="GSAM_TOKEN", help="What clients have to send: Authorization: Bearer TOKEN.")
    ] = None,
    insecure: Annotated[bool, Option("--insecure", help="Allow a public address without a token.")] = False,
    name: Annotated[list[str] | None, Option(help="A name that this server is reached by; may be repeated.")] = None,
    root_path: Annotated[str, Option(help="The path that a proxy takes away.")] = "",
    allow_host: Annotated[
        list[str] | None, Option(help="A host that images may be fetched from; may be repeated.")
    ] = None,
    label_studio: Annotated[bool, Option("--label-studio", help="Speak Label Studio's protocol too.")] = False,
    label_studio_url: Annotated[
        str | None, Option(envvar="LABEL_STUDIO_URL", help="Where Label Studio is, for its images.")
    ] = None,
    label_studio_token: Annotated[
        str | None, Option(envvar="LABEL_STUDIO_API_KEY", help="Label Studio's access token.")
    ] = None,
    cvat: Annotated[bool, Option("--cvat", help="Speak the protocol of CVAT's functions too.")] = False,
    x_anylabeling: Annotated[bool, Option("--x-anylabeling", help="Speak X-AnyLabeling's protocol too.")] = False,
    queue: Annotated[int, Option(min=1, help="Requests that wait, at most; more get 503.")] = 64,
    batch: Annotated[int, Option(min=1, help="Images that are computed together, at most.")] = 8,
    deadline: Annotated[float, Option(help="Seconds until a request gets 504.")] = 60.0,
    sessions: Annotated[int, Option(min=1, help="Images that are kept for clicks, at most.")] = 64,
    detector: Detector = None,
    segmenter: Segmenter = None,
    classifier: Classifier = None,
    tracker: Tracker = None,
    device: Device = None,
    dtype: DType = None,
    weights_dir: WeightsDir = None,
) -> None:
    """Serve words, clicks and videos over HTTP, with a page for the browser.

    Listens on this machine only, unless told otherwise, and then wants a token.  Stops with Ctrl-C.
    """
    try:
        import uvicorn

        from gsam.serve.app import create_app
        from gsam.serve.config import ServeConfig
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("gsam"):
            raise
        raise UsageError(NEEDED, "serve_extra") from None
    models = {"detector": detector, "segmenter": segmenter, "classifier": classifier, "tracker": tracker}
    config = ServeConfig(
        pipeline=pipeline,
        predictor=predictor,
        given=given_of(**models, device=device, dtype=dtype),
        host=host,
        port=port,
        token=token or None,
        insecure=insecure,
        names=tuple(name or ()),
        root_path=root_path,
        allow_hosts=tuple(allow_host or ()),
        label_studio=label_studio,
        label_studio_url=label_studio_url,
        label_studio_token=label_studio_token,
        cvat=cvat,
        x_anylabeling=x_anylabeling,
        queue=queue,
        batch=batch,
        deadline=deadline,
        max_sessions=sessions,
    )
    os.environ.pop("GSAM_TOKEN", None)  # no child needs it
    logging.basicConfig(format="gsam: %(message)s", level=logging.INFO)
    logging.getLogger("uvicorn.access").disabled = True  # addresses hold sessions
    tell(f"serving {config.pipeline} on http://{config.host}:{config.port}/ (the page), /v1 (docs/serve.md)")
    uvicorn.run(
        create_app(config),
        host=config.host,
        port=config.port,
        log_level="warning",
        limit_concurrency=config.connections,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=1 << 16,
        server_header=False,
    )
