"""``gsam serve``: words and clicks over HTTP, a page, and the protocols of labelling tools."""

from __future__ import annotations

import importlib.util
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
from gsam.errors import UsageError

app = command_app()
NEEDED = {
    "fastapi": "FastAPI",
    "uvicorn": "uvicorn",
    "python_multipart": "python-multipart",
    "prometheus_client": "prometheus-client",
}
"""Packages of the extra ``serve``: the name that is imported, and the one that is installed."""
MB = 1 << 20


@app.command(context_settings=HELP)
def serve(
    pipeline: Recipe = "nano",
    predictor: Annotated[
        str | None, Option("--predictor", help="The model that answers clicks.  [default: the recipe's segmenter]")
    ] = None,
    host: Annotated[str, Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen on; 0 for any that is free.")] = 8000,
    token: Annotated[
        str | None,
        Option(envvar="GSAM_TOKEN", show_envvar=True, help="What clients have to send: Authorization: Bearer TOKEN."),
    ] = None,
    insecure: Annotated[bool, Option("--insecure", help="Allow a public address without a token.")] = False,
    name: Annotated[
        list[str] | None,
        Option(help="A name that this server is reached by, as in https://NAME/; * for any.  May be repeated."),
    ] = None,
    root_path: Annotated[str, Option(help="The path that a proxy takes away: /gsam.")] = "",
    allow_host: Annotated[
        list[str] | None,
        Option(help="A host that images may be fetched from.  May be repeated.  [default: none, so no addresses]"),
    ] = None,
    page: Annotated[bool, Option("--page/--no-page", help="Serve the page at /.")] = True,
    label_studio: Annotated[bool, Option("--label-studio", help="Speak Label Studio's protocol too.")] = False,
    label_studio_url: Annotated[
        str | None, Option(envvar="LABEL_STUDIO_URL", help="Where Label Studio is, for its images.")
    ] = None,
    label_studio_token: Annotated[
        str | None, Option(envvar="LABEL_STUDIO_API_KEY", help="Label Studio's access token.")
    ] = None,
    cvat: Annotated[bool, Option("--cvat", help="Speak the protocol of CVAT's functions too.")] = False,
    cvat_labels: Annotated[
        str, Option(metavar="QUERY", help="The words that CVAT's detector finds, as those of gsam segment -q.")
    ] = "",
    cvat_from: Annotated[
        list[str] | None,
        Option(metavar="NETWORK", help="A network from which CVAT needs no token; may be repeated."),
    ] = None,
    x_anylabeling: Annotated[bool, Option("--x-anylabeling", help="Speak X-AnyLabeling's protocol too.")] = False,
    queue: Annotated[int, Option(min=1, help="Requests that wait for the models, at most; more get 503.")] = 64,
    batch: Annotated[int, Option(min=1, help="Images that are computed together, at most; on a CPU one a device.")] = 8,
    batch_wait: Annotated[float, Option(min=0, help="Milliseconds that a first request waits for others.")] = 4.0,
    deadline: Annotated[float, Option(min=0.1, help="Seconds until a request gets 504.")] = 60.0,
    read_timeout: Annotated[float, Option(min=0.1, help="Seconds that a body may take to arrive; then 408.")] = 30.0,
    connections: Annotated[int, Option(min=1, help="Connections at a time; more get 503.")] = 1024,
    max_body: Annotated[float, Option(min=0.001, help="Largest body of a request in MB; more gets 413.")] = 25.0,
    max_video_body: Annotated[float, Option(min=0.001, help="The same for a video.")] = 200.0,
    max_held: Annotated[
        float, Option(min=0.001, help="MB of the bodies of all running requests; more get 503.")
    ] = 1024.0,
    max_pixels: Annotated[int, Option(min=1, help="Largest image in pixels; more gets 413.")] = 40_000_000,
    max_frames: Annotated[int, Option(min=1, help="Longest video in frames; more gets 413.")] = 3000,
    videos: Annotated[int, Option(min=1, help="Videos that are kept, at most.")] = 4,
    sessions: Annotated[int, Option(min=1, help="Images that are kept for clicks, at most.")] = 64,
    session_memory: Annotated[float, Option(min=1, help="MB that they may take together.")] = 2048.0,
    session_age: Annotated[
        float, Option(min=0.1, help="Seconds after its last use until an image or a video is forgotten.")
    ] = 1800.0,
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
    docs/serve.md has every request.
    """
    missing = [installed for imported, installed in NEEDED.items() if importlib.util.find_spec(imported) is None]
    if missing:
        raise UsageError(f"the server needs {' and '.join(missing)}: pip install 'gsam-jax[serve]'", "serve_extra")
    from gsam.serve.config import ServeConfig
    from gsam.serve.running import run

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
        page=page,
        label_studio=label_studio,
        label_studio_url=label_studio_url,
        label_studio_token=label_studio_token,
        cvat=cvat,
        cvat_query=cvat_labels,
        cvat_from=tuple(cvat_from or ()),
        x_anylabeling=x_anylabeling,
        queue=queue,
        batch=batch,
        batch_wait=batch_wait / 1000,
        deadline=deadline,
        read_timeout=read_timeout,
        connections=connections,
        max_body=int(max_body * MB),
        max_video_body=int(max_video_body * MB),
        max_held=int(max_held * MB),
        max_pixels=max_pixels,
        max_frames=max_frames,
        max_videos=videos,
        max_sessions=sessions,
        max_session_bytes=int(session_memory * MB),
        session_age=session_age,
    )
    os.environ.pop("GSAM_TOKEN", None)  # no child needs it
    run(config)
