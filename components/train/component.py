"""Component `train`: a dataset and a recipe → a model."""

from kfp import dsl


@dsl.component(base_image="codetr", install_kfp_package=False)
def train(
    settings: dict,
    store: str,
    checkpoints: str,
    processes: int,
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
) -> None:
    """Train a detector; a retried task resumes from its newest checkpoint.

    Args:
        settings: the `train` section of params.yaml: the recipe and what differs from it.
        store: where the result is looked for before and stored after: a folder below /data or s3://BUCKET/PREFIX; empty
            for no store.
        checkpoints: folder that outlives the task, on the shared volume.
        processes: one for each GPU, or 1.
        dataset: what `prepare` wrote.
        model: weights with their configuration and class names, and the metrics over time.
    """
    import os
    from pathlib import Path

    from codetr.core.manifest import Manifest
    from codetr.steps.run import run_step

    if store:
        os.environ["CODETR_STORE"] = store
    run_step("train", settings, dataset=dataset.path, output=model.path, checkpoints=checkpoints, nproc=processes)
    manifest = Manifest.read(Path(model.path), "model")
    model.metadata.update(manifest.summary, digest=manifest.digest)
