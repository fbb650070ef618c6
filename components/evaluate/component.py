"""Component `evaluate`: a model and a dataset → metrics, pictures and a report."""

from kfp import dsl


@dsl.component(base_image="codetr", install_kfp_package=False)
def evaluate(
    settings: dict,
    store: str,
    processes: int,
    registry: str,
    cluster: dict,
    folder: str,
    run: str,
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
        processes: one for each GPU, or 1; the result is the same for any number. A cluster says it itself.
        registry: the registry's folder, on the shared volume; the report compares the model with its champion.
        cluster: a launch spec as in pipelines/clusters: the task starts a job there and follows it. Empty to evaluate
            in the task.
        folder: the run's folder on the shared volume; the evaluation is written there, and its manifest alone is
            uploaded. Empty to upload the evaluation. A cluster needs it.
        run: name of the pipeline's run, to which the job belongs.
        model: what `train` wrote.
        dataset: what `prepare` wrote.
        evaluation: the folder that the step writes.
        metrics: the main metrics, for the pages of Kubeflow Pipelines.
        report: the HTML report, for the same pages.
    """
    import shutil
    from pathlib import Path

    from codetr.core.manifest import Manifest
    from codetr.steps.artifacts import folder_of, refer_to
    from codetr.steps.run import run_step

    output = f"{folder}/evaluation" if folder else evaluation.path
    paths = {"model": folder_of(model), "dataset": folder_of(dataset), "output": output, "registry": registry}
    run_step("evaluate", settings, run=run, store=store, cluster=cluster, nproc=processes, **paths)
    refer_to(evaluation, output)
    manifest = Manifest.read(Path(output), "evaluation")
    evaluation.metadata.update(digest=manifest.digest)
    for name, value in manifest.summary.items():
        if isinstance(value, int | float):
            metrics.log_metric(name, value)
    shutil.copyfile(Path(output) / "report.html", report.path)
