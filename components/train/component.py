"""Component `train`: a dataset and a recipe → a model."""

from kfp import dsl


@dsl.component(base_image="codetr", install_kfp_package=False)
def train(
    settings: dict,
    store: str,
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
        store: where the result is looked for before and stored after: a folder below /data or s3://BUCKET/PREFIX; empty
            for no store.
        checkpoints: folder that outlives the task, on the shared volume.
        processes: one for each GPU, or 1; a cluster says it itself.
        cluster: a launch spec as in pipelines/clusters: the task starts a job there, follows it and starts it again
            where that helps. Empty to train in the task.
        folder: the run's folder on the shared volume; the model is written there, and its manifest alone is uploaded.
            Empty to upload the model. A cluster needs it.
        run: name of the pipeline's run, to which the job belongs.
        dataset: what `prepare` wrote.
        model: weights with their configuration and class names, and the metrics over time.
    """
    from pathlib import Path

    from codetr.core.manifest import Manifest
    from codetr.steps.artifacts import folder_of, refer_to
    from codetr.steps.run import run_step

    output = f"{folder}/model" if folder else model.path
    paths = {"dataset": folder_of(dataset), "output": output, "checkpoints": checkpoints}
    run_step("train", settings, run=run, store=store, cluster=cluster, nproc=processes, **paths)
    refer_to(model, output)
    manifest = Manifest.read(Path(output), "model")
    model.metadata.update(manifest.summary, digest=manifest.digest)
