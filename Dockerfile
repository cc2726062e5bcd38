# syntax=docker/dockerfile:1
# Two targets: `cpu` (the default, last) and `cuda13`, for hosts with an NVIDIA driver that serves CUDA 13.
#
#   docker build -t riskengine .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/runs:/runs" riskengine venue=binance
#   docker build --target cuda13 -t riskengine:cuda13 .
#   docker run --rm --gpus all --user "$(id -u):$(id -g)" -v "$PWD/runs:/runs" riskengine:cuda13
#
# Without --user the program is user 10001, who must be able to write to /runs.

FROM python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b AS base
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1 HOME=/tmp
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin risk \
    && mkdir /runs && chown risk /runs

# The wheel is built apart, so that no build tool and no source stays in the image.
FROM base AS wheel
COPY requirements/build.txt /tmp/requirements.txt
RUN pip install --require-hashes -r /tmp/requirements.txt
COPY . /source
RUN pip wheel --no-build-isolation --no-deps --wheel-dir /wheel /source

FROM base AS cuda13
COPY requirements/cuda13.txt /tmp/requirements.txt
RUN pip install --require-hashes -r /tmp/requirements.txt && rm /tmp/requirements.txt
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps /wheel/*.whl
USER risk
WORKDIR /
VOLUME /runs
ENTRYPOINT ["riskengine"]

FROM base AS cpu
COPY requirements/cpu.txt /tmp/requirements.txt
RUN pip install --require-hashes -r /tmp/requirements.txt && rm /tmp/requirements.txt
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel pip install --no-deps /wheel/*.whl
USER risk
WORKDIR /
VOLUME /runs
ENTRYPOINT ["riskengine"]
