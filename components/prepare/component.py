"""Component `prepare`: annotations and images → a dataset."""

from kfp import dsl


@dsl.component(base_image="codetr", install_kfp_package=False)
def prepare(settings: dict, store: str, folder: str, run: str, dataset: dsl.Output[dsl.Dataset]) -> None:
    """Index annotations and images, and check them.

    Args:
        settings: the `prepare` section of params.yaml; paths as the task sees them (/data on a cluster).
        store: where the result is looked for before and stored after: a folder below /data or s3://BUCKET/PREFIX; empty
            for no store.
        folder: the run's folder on the shared volume; the dataset is written there, and its manifest alone is uploaded.
            Empty to upload the dataset.
        run: name of the pipeline's run.
        dataset: the indexed dataset, which refers to the images.
    """
    from pathlib import Path

    from codetr.core.manifest import Manifest
    from codetr.steps.artifacts import refer_to
    from codetr.steps.run import run_step

    output = f"{folder}/dataset" if folder else dataset.path
    run_step("prepare", settings, run=run, store=store, output=output)
    refer_to(dataset, output)
    manifest = Manifest.read(Path(output), "dataset")
    dataset.metadata.update(manifest.summary, digest=manifest.digest)
