# gsam serve in a container (docs/containers.md):
#
#   docker build -t gsam .                                    CPU
#   docker build -t gsam:cuda --build-arg JAX=cuda13 .        NVIDIA; or cuda12
#   docker run -p 127.0.0.1:8000:8000 -e GSAM_TOKEN=... -v gsam-cache:/cache gsam -p grounded_sam
ARG PYTHON=3.12

FROM python:${PYTHON}-slim AS build
# One of JAX's extras, empty for a CPU; those of gsam; and the index they come from.
ARG JAX=""
ARG EXTRAS="serve,video,tiff"
ARG PIP_INDEX_URL
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY gsam ./gsam
COPY pipelines ./pipelines
COPY weights ./weights
RUN python -m venv /opt/gsam
# In one call, so that pip chooses a JAX that fits gsam's pins.
RUN /opt/gsam/bin/pip install --no-cache-dir ".[${EXTRAS}]" ${JAX:+"jax[${JAX}]"} \
    && /opt/gsam/bin/gsam --version

FROM python:${PYTHON}-slim
COPY --from=build /opt/gsam /opt/gsam
RUN useradd --system --user-group --uid 10001 --create-home --shell /usr/sbin/nologin gsam \
    && install -d -o gsam -g gsam /cache
ENV PATH=/opt/gsam/bin:$PATH \
    GSAM_CACHE=/cache \
    HF_HOME=/cache/huggingface \
    PYTHONUNBUFFERED=1
USER gsam
WORKDIR /home/gsam
VOLUME /cache
EXPOSE 8000
STOPSIGNAL SIGTERM
# 503 until the models are loaded and compiled, which takes minutes the first time.
HEALTHCHECK --interval=15s --timeout=5s --start-period=10m --retries=4 \
    CMD ["python", "-I", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
# It refuses to start without GSAM_TOKEN: others can reach a container.
ENTRYPOINT ["gsam", "serve", "--host", "0.0.0.0", "--port", "8000"]
CMD ["-p", "nano"]
