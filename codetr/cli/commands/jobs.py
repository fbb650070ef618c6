"""The commands `codetr jobs list | cancel | sweep`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from codetr.cli.output import print_table
from codetr.core.durations import describe_duration
from codetr.launch.sweep import KEPT, UNWATCHED, sweep

app = typer.Typer(
    no_args_is_help=True,
    help="""List, cancel and clean up training jobs on a Kubernetes cluster.

    [bold]codetr train --on CLUSTER[/] starts them. The cluster is that of the pod this runs in, else of kubectl's
    current context.
    """,
)

NamespaceOption = Annotated[
    str | None,
    typer.Option("--namespace", "-n", metavar="NAME", help="Default: that of the pod, or of kubectl's context."),
]


@app.command("list")
def list_jobs(namespace: NamespaceOption = None) -> None:
    """List the training jobs of a namespace, newest first.

    [cyan]codetr jobs list -n team[/]
    """
    from codetr.launch.observe import observe
    from codetr.launch.open_launcher import open_kubernetes
    from codetr.launch.trainjob import RUN, parse_time

    api = open_kubernetes(namespace)
    rows = []
    for job in sorted(api.jobs(), key=lambda one: str(one["metadata"].get("creationTimestamp")), reverse=True):
        name = job["metadata"]["name"]
        state = observe(job, api.pods(name), lambda _: ())
        age = datetime.now(UTC) - parse_time(job["metadata"].get("creationTimestamp"))
        progress = str(state.progress) if state.progress else ""
        run = (job["metadata"].get("annotations") or {}).get(RUN, "")
        rows.append((name, run, state.phase, progress, describe_duration(age.total_seconds()), state.reason))
    print_table(("job", "run", "state", "progress", "age", "reason"), rows)


@app.command(no_args_is_help=True)
def cancel(
    job: Annotated[str, typer.Argument(metavar="JOB", help="Its name, as `codetr jobs list` prints it.")],
    namespace: NamespaceOption = None,
) -> None:
    """Delete a job and its pods; its checkpoints stay.

    [cyan]codetr jobs cancel codetr-nightly-0a1b2c3d4e-0[/]
    """
    from codetr.core.errors import UserError, did_you_mean
    from codetr.launch.open_launcher import open_kubernetes

    api = open_kubernetes(namespace)
    jobs = {one["metadata"]["name"]: one for one in api.jobs()}
    if job not in jobs:
        hint = f"{did_you_mean(job, jobs)}`codetr jobs list` lists the jobs of codetr."
        raise UserError(f"there is no job '{job}' of codetr in namespace {api.namespace}", hint=hint)
    api.delete_job(jobs[job])
    print(f"deleted {job}")


@app.command("sweep")
def sweep_jobs(
    namespace: NamespaceOption = None,
    unwatched: Annotated[
        float, typer.Option("--unwatched", min=0.1, metavar="HOURS", help="Delete running jobs unwatched so long.")
    ] = UNWATCHED / timedelta(hours=1),
    kept: Annotated[
        float, typer.Option("--kept", min=0, metavar="DAYS", help="Delete jobs that ended so long ago.")
    ] = KEPT / timedelta(days=1),
) -> None:
    """Delete jobs that no launcher watches any more, and those that ended long ago.

    A CronJob does it on a cluster (infra/kubernetes/trainer/sweeper.yaml).

        [cyan]codetr jobs sweep -n team[/]
    """
    from codetr.launch.open_launcher import open_kubernetes

    deleted = sweep(open_kubernetes(namespace), unwatched=timedelta(hours=unwatched), kept=timedelta(days=kept))
    for name in deleted:
        print(f"deleted {name}")
    print(f"{len(deleted)} deleted")
