# Airflow with the DAGs, and beside it an environment that can compile and submit the pipeline (no PyTorch:
# training happens in the pipeline's pods). From the repository's root:
#   docker build -f infra/containers/airflow.Dockerfile -t codetr-airflow .
ARG BASE_IMAGE=python:3.11-slim-bookworm
FROM ${BASE_IMAGE}
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
WORKDIR /opt/project
COPY requirements requirements
RUN python3 -m venv /opt/airflow-venv \
    && /opt/airflow-venv/bin/pip install --no-deps -r requirements/airflow.txt \
    && python3 -m venv /opt/pipelines \
    && /opt/pipelines/bin/pip install -c requirements/constraints.txt kfp kfp-kubernetes pydantic pyyaml typer rich
COPY pyproject.toml LICENSE README.md params.yaml ./
COPY codetr codetr
RUN /opt/pipelines/bin/pip install --no-deps .
COPY components components
COPY pipelines pipelines
COPY dags dags
RUN groupadd --gid 50000 airflow \
    && useradd --create-home --uid 50000 --gid airflow airflow \
    && mkdir -p /opt/airflow/plugins /opt/airflow/logs \
    && chown -R airflow /opt/airflow
ENV PATH=/opt/airflow-venv/bin:${PATH} \
    AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/project/dags \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    CODETR_PYTHON=/opt/pipelines/bin/python \
    CODETR_PROJECT=/opt/project
USER 50000
CMD ["airflow", "version"]
