"""The pipeline `retrain`: prepare → train → evaluate → register, each step a task of its own."""

from typing import NamedTuple

from kfp import dsl, kubernetes

from components.evaluate.component import evaluate
from components.prepare.component import prepare
from components.register.component import register
from components.train.component import train

DATA = "/data"
"""Where the shared volume is mounted in every task."""

TRAINING_RETRIES = 3
"""How often a training task that was lost (preempted, evicted) is started again; it resumes from its checkpoint."""


class Outputs(NamedTuple):
    """What a run of the pipeline leaves: the folder of every step."""

    dataset: dsl.Dataset
    model: dsl.Model
    evaluation: dsl.Artifact
    registration: dsl.Artifact


@dsl.pipeline(name="codetr-retrain", description="Prepare a dataset, train a detector, evaluate it, register it.")
def retrain(
    prepare_settings: dict,
    train_settings: dict,
    evaluate_settings: dict,
    register_settings: dict,
    registry: str,
    checkpoints: str,
    image: str,
    processes: int = 1,
    accelerator: str = "nvidia.com/gpu",
    accelerators: int = 0,
    cpu: str = "4",
    memory: str = "16Gi",
    volume: str = "codetr-data",
) -> Outputs:
    """Retrain the detector.

    Args:
        prepare_settings: the `prepare` section of params.yaml; so for the next three.
        train_settings: recipe and what differs from it.
        evaluate_settings: how to evaluate.
        register_settings: the gate.
        registry: the registry's folder, below /data on a cluster.
        checkpoints: folder in which training leaves what it resumes from, below /data on a cluster.
        image: the container image with codetr installed.
        processes: of training and evaluation, one for each accelerator.
        accelerator: the resource's name.
        accelerators: how many of them training and evaluation get; 0 for none.
        cpu: limit of each of these two tasks, as Kubernetes writes it.
        memory: likewise.
        volume: the PersistentVolumeClaim with images, checkpoints and registry.
    """
    prepared = prepare(settings=prepare_settings)
    # Its inputs are paths: the same path with new images in it must not be answered from the cache.
    prepared.set_caching_options(enable_caching=False)

    trained = train(
        settings=train_settings,
        checkpoints=checkpoints,
        processes=processes,
        dataset=prepared.outputs["dataset"],
    )
    trained.set_retry(TRAINING_RETRIES, backoff_duration="30s", backoff_factor=2.0)

    evaluated = evaluate(
        settings=evaluate_settings,
        processes=processes,
        model=trained.outputs["model"],
        dataset=prepared.outputs["dataset"],
    )

    registered = register(
        settings=register_settings,
        registry=registry,
        model=trained.outputs["model"],
        evaluation=evaluated.outputs["evaluation"],
    )
    # The registry is outside the pipeline: whether a version is in it must not be answered from the cache either.
    registered.set_caching_options(enable_caching=False)

    for task in (trained, evaluated):
        task.set_accelerator_type(accelerator).set_accelerator_limit(accelerators)
        task.set_cpu_limit(cpu).set_memory_limit(memory)
        # Loader workers hand batches over through shared memory; a container's default is 64 MiB.
        kubernetes.empty_dir_mount(task, volume_name="shm", mount_path="/dev/shm", medium="Memory")
    for task in (prepared, trained, evaluated, registered):
        task.set_container_image(image)
        kubernetes.mount_pvc(task, pvc_name=volume, mount_path=DATA)

    return Outputs(
        dataset=prepared.outputs["dataset"],
        model=trained.outputs["model"],
        evaluation=evaluated.outputs["evaluation"],
        registration=registered.outputs["registration"],
    )
