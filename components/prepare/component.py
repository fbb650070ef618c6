"""Component `prepare`: annotations and images → a dataset."""

from kfp import dsl


@dsl.component(base_image="codetr", install_kfp_package=False)
def prepare(settings: dict, store: str, dataset: dsl.Output[dsl.Dataset]) -> None:
    """Index annotations and images, and check them.

    Args:
        settings: the `prepare` section of params.yaml; paths as the task sees them (/data on a cluster).
        store: where the result is looked for before and stored after: a folder below /data or s3://BUCKET/PREFIX; empty
            for no store.
        dataset: the indexed dataset, which refers to the images.
    """
    import os
    from pathlib import Path

    from codetr.core.manifest import Manifest
    from codetr.steps.run import run_step

    if store:
        os.environ["CODETR_STORE"] = store
    run_step("prepare", settings, output=dataset.path)
    manifest = Manifest.read(Path(dataset.path), "dataset")
    dataset.metadata.update(manifest.summary, digest=manifest.digest)
