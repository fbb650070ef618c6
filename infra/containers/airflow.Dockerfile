# Airflow for its official chart (infra/helm/airflow): Airflow, the DAGs, and beside them an environment that compiles and
# submits the pipeline. Neither has PyTorch: training happens in the pipeline's pods. From the repository's root:
#   docker build -f infra/containers/airflow.Dockerfile -t codetr-airflow:0.1.0 .
# The build arguments are those of codetr.Dockerfile.
ARG BASE_IMAGE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements requirements
RUN python3 -m venv /opt/airflow-venv \
    && /opt/airflow-venv/bin/pip install --no-deps -r requirements/airflow.txt
RUN python3 -m venv /opt/pipelines \
    && /opt/pipelines/bin/pip install -c requirements/constraints.txt kfp kfp-kubernetes pydantic pyyaml typer rich
COPY pyproject.toml LICENSE README.md ./
COPY codetr codetr
RUN /opt/pipelines/bin/pip install --no-deps .

FROM ${BASE_IMAGE}
# What the chart expects of an image: user 50000 of group 0, AIRFLOW_HOME at /opt/airflow, and /entrypoint, through which
# it runs its probes.
RUN useradd --no-create-home --home-dir /tmp --uid 50000 --gid 0 airflow \
    && printf '#!/bin/sh\nexec "$@"\n' > /entrypoint \
    && chmod 755 /entrypoint \
    && mkdir -p /opt/airflow/plugins /opt/airflow/logs \
    && chmod -R g=u /opt/airflow \
    && chown -R airflow /opt/airflow
COPY --from=build /opt/airflow-venv /opt/airflow-venv
COPY --from=build /opt/pipelines /opt/pipelines
WORKDIR /opt/project
COPY params.yaml ./
COPY components components
COPY pipelines pipelines
COPY dags dags
ARG VERSION=unknown
ARG COMMIT=unknown
ARG CODE_DIGEST
LABEL org.opencontainers.image.title="codetr-airflow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${COMMIT}" \
      dev.codetr.code="${CODE_DIGEST}"
ENV PATH=/opt/airflow-venv/bin:${PATH} \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/project/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    CODETR_PYTHON=/opt/pipelines/bin/python \
    CODETR_PROJECT=/opt/project
USER 50000
ENTRYPOINT ["/entrypoint"]
CMD ["airflow", "version"]
