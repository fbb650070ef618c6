# The image of every pipeline task and of training on a cluster. From the repository's root:
#   docker build -f infra/containers/codetr.Dockerfile -t codetr .
# PyPI's PyTorch carries its CUDA libraries, so the same plain Python base serves GPU nodes and CPU nodes.
# For a small image without CUDA:
#   docker build ... --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu
# BASE_IMAGE may be any Debian or Ubuntu with Python 3.11 or later and its venv module.
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG TORCH_INDEX=https://pypi.org/simple
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python3 -m venv /opt/codetr
COPY requirements/constraints.txt requirements/
# PyTorch in a separate layer: it is most of the image and changes least.
RUN /opt/codetr/bin/pip install --index-url "${TORCH_INDEX}" --extra-index-url https://pypi.org/simple \
    -c requirements/constraints.txt torch torchvision
COPY pyproject.toml LICENSE README.md ./
COPY codetr codetr
RUN /opt/codetr/bin/pip install -c requirements/constraints.txt ".[wandb,dvc,kubeflow,timm]"

FROM ${BASE_IMAGE}
COPY --from=build /opt/codetr /opt/codetr
ENV PATH=/opt/codetr/bin:${PATH} PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 codetr
USER 1000
WORKDIR /home/codetr
# No entrypoint: a pipeline task has a command, and `docker run codetr codetr --help` is readable.
CMD ["codetr", "--help"]
