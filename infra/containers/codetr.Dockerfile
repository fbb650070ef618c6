# The image of every pipeline task, of training on a cluster, and of `codetr serve`. From the repository's root:
#
#   docker build -f infra/containers/codetr.Dockerfile --target cuda -t codetr:0.1.0 .
#   docker build -f infra/containers/codetr.Dockerfile --target cpu -t codetr:0.1.0-cpu .
#
# cuda   PyTorch of PyPI, which carries its CUDA libraries: nodes need the driver only, and CPU nodes run it too.
# cpu    PyTorch without CUDA, from TORCH_INDEX: a fifth of the size, for serving on CPUs and for tests.
#
# Build arguments:
#   BASE_IMAGE    any Debian or Ubuntu with Python 3.11 or later and its venv module
#   TORCH_INDEX   package index with the PyTorch of the target cpu
#   VERSION, COMMIT, CODE_DIGEST   labels; `.ci/image_arguments` prints them. The build fails if CODE_DIGEST is not the
#                 digest of the code that was installed.
#
# A container runs as user 1000, and writes below /tmp only, which is HOME too. So it works with a read-only root file
# system and a volume at /tmp: `docker run --read-only --tmpfs /tmp:exec codetr codetr --help`.
ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE_IMAGE} AS environment
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python3 -m venv /opt/codetr
COPY requirements/constraints.txt requirements/

FROM ${BASE_IMAGE} AS runtime
RUN useradd --no-create-home --home-dir /tmp --uid 1000 codetr
ENV PATH=/opt/codetr/bin:${PATH} \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /tmp
ARG VERSION=unknown
ARG COMMIT=unknown
ARG CODE_DIGEST
LABEL org.opencontainers.image.title="codetr" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      dev.codetr.code="${CODE_DIGEST}"
USER 1000
# No entrypoint: a pipeline task has a command, and `docker run codetr codetr --help` is readable.
CMD ["codetr", "--help"]

FROM environment AS build-cpu
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# PyTorch in a separate layer: it is most of the image and changes least.
RUN /opt/codetr/bin/pip install --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple \
    -c requirements/constraints.txt torch torchvision
COPY pyproject.toml LICENSE README.md ./
COPY codetr codetr
RUN /opt/codetr/bin/pip install -c requirements/constraints.txt ".[wandb,dvc,kubeflow,timm,serve]"
WORKDIR /
ARG CODE_DIGEST
RUN installed="$(/opt/codetr/bin/python -c 'from codetr.core.code_version import *; print(program_digest())')" \
    && test "${CODE_DIGEST:-${installed}}" = "${installed}"

FROM runtime AS cpu
COPY --from=build-cpu /opt/codetr /opt/codetr

FROM environment AS build-cuda
RUN /opt/codetr/bin/pip install -c requirements/constraints.txt torch torchvision
COPY pyproject.toml LICENSE README.md ./
COPY codetr codetr
RUN /opt/codetr/bin/pip install -c requirements/constraints.txt ".[wandb,dvc,kubeflow,timm,serve]"
WORKDIR /
ARG CODE_DIGEST
RUN installed="$(/opt/codetr/bin/python -c 'from codetr.core.code_version import *; print(program_digest())')" \
    && test "${CODE_DIGEST:-${installed}}" = "${installed}"

FROM runtime AS cuda
COPY --from=build-cuda /opt/codetr /opt/codetr
