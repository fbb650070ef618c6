"""Component `train`: a dataset and a recipe → a model."""

from kfp import dsl


@dsl.component(base_image="codetr", install_kfp_package=False)
def train(
    settings: dict,
    checkpoints: str,
    processes: int,
    cluster: dict,
    folder: str,
    run: str,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
) -> None:
    """Train a detector; a retried task resumes from its newest checkpoint.

    Args:
        settings: the `train` section of params.yaml: the recipe and what differs from it.
        checkpoints: folder that outlives the task, on the shared volume.
        processes: one for each GPU, or 1; a cluster says it itself.
        cluster: a launch spec as in pipelines/clusters: the task starts a job there, follows it and starts it again
            where that helps. Empty to train in the task.
        folder: the run's folder on the shared volume; the model is written there and is not uploaded. Empty to upload
            it. A cluster needs it.
        run: name of the pipeline's run, to which the job belongs.
        dataset: what `prepare` wrote.
        model: weights with their configuration and class names, and the metrics over time.
    """
    from pathlib import Path

    from codetr.core.manifest import Manifest
    from codetr.steps.run import run_step

    if folder:
        # Nothing is uploaded from, or downloaded to, an address that is the path of a mounted volume.
        model.uri = f"{folder}/model"
    paths = {"dataset": dataset.path, "output": model.path, "checkpoints": checkpoints}
    run_step("train", settings, run=run, cluster=cluster, nproc=processes, **paths)
    manifest = Manifest.read(Path(model.path), "model")
    model.metadata.update(manifest.summary, digest=manifest.digest)
