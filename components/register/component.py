"""Component `register`: a model and its evaluation → a version in the registry, and the gate's verdict."""

from kfp import dsl


@dsl.component(base_image="codetr", install_kfp_package=False)
def register(
    settings: dict,
    registry: str,
    run: str,
    model: dsl.Input[dsl.Model],
    evaluation: dsl.Input[dsl.Artifact],
    registration: dsl.Output[dsl.Artifact],
) -> None:
    """Register a version; the champion changes only if the gate passes.

    Args:
        settings: the `register` section of params.yaml.
        registry: the registry's folder, on the shared volume.
        run: name of the pipeline's run.
        model: what `train` wrote.
        evaluation: what `evaluate` wrote about that model.
        registration: the version and the verdict.
    """
    from pathlib import Path

    from codetr.core.manifest import Manifest
    from codetr.steps.artifacts import folder_of
    from codetr.steps.run import run_step

    paths = {"model": folder_of(model), "evaluation": folder_of(evaluation), "output": registration.path}
    run_step("register", settings, run=run, registry=registry, **paths)
    manifest = Manifest.read(Path(registration.path), "registration")
    registration.metadata.update(manifest.summary, digest=manifest.digest)
