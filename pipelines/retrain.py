"""The pipeline `retrain`: prepare → train → evaluate → register, one task for each step."""

from typing import Any, NamedTuple

from kfp import dsl, kubernetes

from codetr.launch.pipeline_run import ENDPOINT_VARIABLE, RUN_ID_VARIABLE
from components.evaluate.component import evaluate
from components.prepare.component import prepare
from components.register.component import register
from components.train.component import train

DATA = "/data"
"""Where the shared volume is mounted in every task."""

IN_CLUSTER = "http://ml-pipeline.kubeflow:8888"
"""The server as its tasks reach it, which ask it whether their run is being cancelled."""

RETRIES = 3
"""How often training or evaluation that ended with an error, e.g. because it was preempted, is retried; it resumes."""


class Outputs(NamedTuple):
    """The outputs of a run: the folder of every step."""

    dataset: dsl.Dataset
    model: dsl.Model
    evaluation: dsl.Artifact
    registration: dsl.Artifact


@dsl.pipeline(name="codetr-retrain", description="Prepare a dataset, train a detector, evaluate it, register it.")
def retrain(
    prepare_settings: dict[str, Any],
    train_settings: dict[str, Any],
    evaluate_settings: dict[str, Any],
    register_settings: dict[str, Any],
    registry: str,
    checkpoints: str,
    image: str,
    processes: int = 1,
    accelerator: str = "nvidia.com/gpu",
    accelerators: int = 0,
    cpu: str = "4",
    memory: str = "16Gi",
    volume: str = "codetr-data",
    cluster: dict[str, Any] = {},  # noqa: B006 - the default that the page for a new run shows
    folder: str = "",
    store: str = "",
) -> Outputs:
    """Retrain the detector.

    Args:
        prepare_settings: section `prepare` of params.yaml.
        train_settings: section `train`: the recipe and what differs from it.
        evaluate_settings: section `evaluate`.
        register_settings: section `register`: the gate.
        registry: the registry's folder, below /data on a cluster.
        checkpoints: folder from which training resumes, below /data on a cluster.
        image: the container image with codetr installed.
        processes: of training and evaluation, one for each accelerator.
        accelerator: name of the resource in Kubernetes.
        accelerators: number of them for training and for evaluation; 0 for none.
        cpu: CPU limit of each of these two tasks, as Kubernetes writes it.
        memory: memory limit of each of these two tasks.
        volume: the PersistentVolumeClaim with images, checkpoints and registry.
        cluster: a launch spec as in pipelines/clusters, on whose nodes training and evaluation run; the tasks then
            only start and follow their jobs, and need neither accelerators nor much memory. Empty to compute in the
            tasks.
        folder: the run's folder below /data, for dataset, model and evaluation, whose manifests alone are then
            uploaded. A cluster needs it.
        store: the store of results, a folder below /data or s3://BUCKET/PREFIX; empty for none.
    """
    run = dsl.PIPELINE_JOB_NAME_PLACEHOLDER
    prepared = prepare(settings=prepare_settings, store=store, folder=folder, run=run)

    trained = train(
        settings=train_settings,
        store=store,
        checkpoints=checkpoints,
        processes=processes,
        cluster=cluster,
        folder=folder,
        run=run,
        dataset=prepared.outputs["dataset"],
    )

    evaluated = evaluate(
        settings=evaluate_settings,
        store=store,
        processes=processes,
        registry=registry,
        cluster=cluster,
        folder=folder,
        run=run,
        model=trained.outputs["model"],
        dataset=prepared.outputs["dataset"],
    )

    registered = register(
        settings=register_settings,
        registry=registry,
        run=run,
        model=trained.outputs["model"],
        evaluation=evaluated.outputs["evaluation"],
    )

    for task in (trained, evaluated):
        task.set_retry(RETRIES, backoff_duration="30s", backoff_factor=2.0)
        task.set_accelerator_type(accelerator).set_accelerator_limit(accelerators)
        task.set_cpu_limit(cpu).set_memory_limit(memory)
        # Loader workers pass batches through shared memory, which is 64 MiB in a container by default.
        kubernetes.empty_dir_mount(task, volume_name="shm", mount_path="/dev/shm", medium="Memory")
    for task in (prepared, trained, evaluated, registered):
        task.set_container_image(image)
        # The steps ask the store of results, which goes by content. KFP's cache goes by the names of artifacts, by
        # parameters and by the tag of the image: it misses equal contents, and would find those of a path, a registry
        # or a tag that have changed.
        task.set_caching_options(enable_caching=False)
        kubernetes.mount_pvc(task, pvc_name=volume, mount_path=DATA)
        kubernetes.use_field_path_as_env(task, RUN_ID_VARIABLE, "metadata.labels['pipeline/runid']")
        task.set_env_variable(ENDPOINT_VARIABLE, IN_CLUSTER)

    return Outputs(
        dataset=prepared.outputs["dataset"],
        model=trained.outputs["model"],
        evaluation=evaluated.outputs["evaluation"],
        registration=registered.outputs["registration"],
    )
