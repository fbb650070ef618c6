"""Component `evaluate`: a model and a dataset → metrics, pictures and a report."""

from kfp import dsl


@dsl.component(base_image="codetr", install_kfp_package=False)
def evaluate(
    settings: dict,
    store: str,
    processes: int,
    registry: str,
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    evaluation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Evaluate a detector with the COCO metrics.

    Args:
        settings: the `evaluate` section of params.yaml.
        store: where the result is looked for before and stored after: a folder below /data or s3://BUCKET/PREFIX; empty
            for no store.
        processes: one for each GPU, or 1; the result is the same for any number.
        registry: the registry's folder, on the shared volume; the report compares the model with its champion.
        model: what `train` wrote.
        dataset: what `prepare` wrote.
        evaluation: the folder that the step writes.
        metrics: the main metrics, for the pages of Kubeflow Pipelines.
        report: the HTML report, for the same pages.
    """
    import os
    import shutil
    from pathlib import Path

    from codetr.core.manifest import Manifest
    from codetr.steps.run import run_step

    if store:
        os.environ["CODETR_STORE"] = store
    paths = {"model": model.path, "dataset": dataset.path, "output": evaluation.path}
    run_step("evaluate", settings, registry=registry, nproc=processes, **paths)
    manifest = Manifest.read(Path(evaluation.path), "evaluation")
    evaluation.metadata.update(digest=manifest.digest)
    for name, value in manifest.summary.items():
        if isinstance(value, int | float):
            metrics.log_metric(name, value)
    shutil.copyfile(Path(evaluation.path) / "report.html", report.path)
