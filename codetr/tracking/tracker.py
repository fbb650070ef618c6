"""Experiment tracking with Weights & Biases that can never stop or slow a run.

Every call to wandb happens on one worker thread; the training loop only adds it to a queue. An exception is logged once
and the run continues. A server that does not answer costs `START_WAIT` seconds at the start and `finish_timeout` at the
end, and nothing in between. If the server cannot be reached, the run is written to disk, and `wandb sync` uploads it
later.

Tracking does not change what a step computes, so its settings are not part of a step's configuration, nor of the
digests made from it: they come from wandb's environment variables, see `TrackingSettings.from_environment`.
"""

from __future__ import annotations

import importlib.util
import logging
import queue
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from codetr.core.errors import first_line
from codetr.core.extras import install_hint
from codetr.core.files import read_json, write_json
from codetr.tracking.boxed_images import BoxedImage, wandb_image
from codetr.tracking.settings import TrackingSettings, answers, disk_problem, has_credentials

if TYPE_CHECKING:
    from wandb.sdk.wandb_run import Run

    from codetr.core.manifest import FolderKind

logger = logging.getLogger(__name__)

START_WAIT = 5.0
"""Seconds `Tracker.start` waits for wandb; after that the step continues and wandb starts in the background."""
CONNECT_TIMEOUT = 5.0
"""Seconds wandb tries to reach its server before the run is written to disk."""
GIVE_UP_CONNECTING = 20.0
"""Seconds `finish` waits for a run that has not started: with a dead server wandb takes 12 to shut down."""
DISK_CHECK = 60.0
"""Seconds between two checks whether the disk is full."""
QUEUE_LENGTH = 10_000
"""Calls that may wait for wandb; more are dropped, so that they do not fill the memory."""

Job = Literal["prepare", "train", "evaluate", "register"]


class Tracker:
    """One W&B run. No method raises or waits for the network, except `finish`, which waits for a limited time.

    Use it as a context manager: leaving it ends the run, marked as failed on an exception.

        with Tracker.start("train", output, config=settings, identity=checkpoints / "wandb.json") as run:
            run.log({"loss": 1.5}, step=10)
    """

    def __init__(self, settings: TrackingSettings, folder: Path) -> None:
        self._settings = settings
        self._folder = settings.folder or folder
        self._run: Run | None = None
        self._online = False
        self._warned = False
        self._opened = threading.Event()
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue(QUEUE_LENGTH)
        self._worker: threading.Thread | None = None

    @classmethod
    def start(
        cls,
        job: Job,
        output: Path,
        *,
        config: Mapping[str, Any] | None = None,
        identity: Path | None = None,
        rank: int = 0,
        settings: TrackingSettings | None = None,
    ) -> Self:
        """Start a run, or resume an earlier one.

        Args:
            job: the step; it becomes the run's job type.
            output: of the step. Unless the settings name a folder, runs on disk are in `wandb/` beside it.
            config: the step's settings, as JSON values.
            identity: file that stores the run's id. A restarted step that finds it resumes the same run: online its
                curves are continued; on disk a second folder with the same id is written, and `wandb sync` joins the
                two. None starts a new run.
            rank: rank of this process; only rank 0 tracks, so that there is one run.
            settings: None reads the environment.
        """
        tracker = cls(settings or TrackingSettings.from_environment(), output.absolute().parent)
        mode = tracker._settings.mode
        if rank != 0 or mode == "disabled":
            return tracker
        if importlib.util.find_spec("wandb") is None:
            if mode != "auto":
                tracker._warn(f"wandb is not installed although mode is '{mode}'. {install_hint('wandb')}")
            return tracker
        try:
            # Imported here and not on the worker: a data loader that forks during an import inherits the import lock.
            import wandb  # noqa: F401
        except Exception as error:
            tracker._warn(f"wandb cannot be imported: {error}")
            return tracker
        run_id = tracker._identify(identity)
        tracker._tasks.put(lambda: tracker._open(job, dict(config or {}), run_id))
        tracker._worker = threading.Thread(target=tracker._work, name="wandb", daemon=True)
        tracker._worker.start()
        tracker._opened.wait(START_WAIT)
        return tracker

    @property
    def location(self) -> str | None:
        """Address of the run on the server, or its folder on disk; None if there is no run (yet)."""
        if self._run is None:
            return None
        return self._run.url if self._online else str(Path(self._run.dir).parent)

    def log(self, metrics: Mapping[str, float], step: int) -> None:
        """Log values at optimiser step `step`; steps must not decrease within a run."""
        values = dict(metrics)
        self._submit(lambda run: run.log(values, step=step))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Set the run's summary metrics."""
        values = dict(values)
        self._submit(lambda run: run.summary.update(values))

    def images(self, key: str, images: Sequence[BoxedImage], step: int | None = None) -> None:
        """Log images with their boxes under `key`."""
        # One by one: W&B distorts a list of images of different sizes.
        pictures = {f"{key}/{number:02d}": picture for number, picture in enumerate(images, start=1)}
        self._submit(lambda run: run.log({name: wandb_image(picture) for name, picture in pictures.items()}, step=step))

    def table(self, key: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Log a table under `key`; every row has a value (number, text or None) per column."""
        data = [list(row) for row in rows]

        def send(run: Run) -> None:
            import wandb

            run.log({key: wandb.Table(columns=list(columns), data=data)})

        self._submit(send)

    def chart(
        self,
        key: str,
        kind: Literal["bar", "line"],
        columns: tuple[str, str],
        rows: Sequence[Sequence[Any]],
        title: str,
    ) -> None:
        """Log a chart under `key`: a bar for each row (name, value), or a line through rows (x, y)."""
        data = [list(row) for row in rows]

        def send(run: Run) -> None:
            import wandb

            draw = wandb.plot.bar if kind == "bar" else wandb.plot.line
            run.log({key: draw(wandb.Table(columns=list(columns), data=data), *columns, title=title)})

        self._submit(send)

    def uses(self, folder: Path, kind: FolderKind) -> None:
        """Record a step's `folder` as an input of this run: lineage to the run that wrote it."""

        def send(run: Run) -> None:
            digest = _manifest(folder, kind).digest
            run.config.update({"inputs": {**run.config.get("inputs", {}), kind: digest}}, allow_val_change=True)
            if self._online:
                try:
                    run.use_artifact(f"{kind}:{_alias(digest)}", type=kind)
                except Exception as error:
                    # The folder was written without tracking; the digest in the config still identifies it.
                    logger.info("W&B does not know the %s %s: %s", kind, digest, error)

        self._submit(send)

    def produces(self, folder: Path, kind: FolderKind, *, only: Sequence[str] | None = None) -> None:
        """Log a finished step's `folder` as an artifact: its files, summary, and the digests of its inputs.

        Args:
            folder: of the step.
            kind: of the folder.
            only: names of the files to upload; None uploads all.
        """

        def send(run: Run) -> None:
            import wandb

            manifest = _manifest(folder, kind)
            # Files that are uploaded now need not be copied. Offline they must be: the folder may be replaced before
            # `wandb sync`.
            policy: Literal["immutable", "mutable"] = "immutable" if self._online else "mutable"
            lineage = {"digest": manifest.digest, "inputs": manifest.inputs, "code": manifest.code}
            artifact = wandb.Artifact(kind, type=kind, metadata={**lineage, "summary": manifest.summary})
            for name in ("manifest.json", *(manifest.files if only is None else only)):
                artifact.add_file(str(folder.resolve() / name), name=name, policy=policy)
            run.log_artifact(artifact, aliases=["latest", _alias(manifest.digest)])

        self._submit(send)

    def finish(self, exit_code: int = 0) -> None:
        """End the run, waiting at most `finish_timeout` seconds for pending uploads."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        try:
            self._tasks.put_nowait(lambda: self._close(exit_code))
            self._tasks.put_nowait(None)
        except queue.Full:
            self._warn("wandb has not answered for a long time")
            return
        # wandb itself gives up after finish_timeout; the margin is for its shutdown.
        limit = self._settings.finish_timeout + 5 if self._opened.is_set() else GIVE_UP_CONNECTING
        worker.join(limit)
        if worker.is_alive():
            self._warn(f"wandb did not finish within {limit:.0f} s; 'wandb sync' sends what is on disk")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        code = error.code if isinstance(error, SystemExit) else 1
        self.finish(exit_code=0 if error is None else code if isinstance(code, int) else 1)

    def _warn(self, reason: str) -> None:
        """Log the first problem; later ones usually have the same cause."""
        if not self._warned:
            self._warned = True
            logger.warning("Tracking: %s. The step continues without it.", reason)

    def _submit(self, send: Callable[[Run], Any]) -> None:
        """Queue a call for the worker; it is dropped if there is no run."""
        if self._worker is None:
            return

        def task() -> None:
            if self._run is not None:
                send(self._run)

        try:
            self._tasks.put_nowait(task)
        except queue.Full:
            self._warn(f"wandb is {QUEUE_LENGTH} calls behind; metrics are being dropped")

    def _work(self) -> None:
        checked = time.monotonic()
        while (task := self._tasks.get()) is not None:
            try:
                if time.monotonic() - checked > DISK_CHECK:
                    checked = time.monotonic()
                    self._check_disk()
                task()
            except (Exception, SystemExit) as error:
                self._warn(f"{type(error).__name__}: {first_line(error)}")

    def _identify(self, identity: Path | None) -> str:
        """Return the run's id, stored in `identity` or new."""
        run_id = secrets.token_hex(4)
        if identity is None:
            return run_id
        try:
            if identity.is_file():
                return str(read_json(identity)["run_id"])
            write_json(identity, {"run_id": run_id})
        except Exception as error:
            self._warn(f"cannot store the run's id in {identity}: {error}")
        return run_id

    def _open(self, job: Job, config: dict[str, Any], run_id: str) -> None:
        """Start the run on the server if that is configured and possible, otherwise on disk."""
        import wandb

        settings = self._settings

        def begin(mode: Literal["online", "offline"]) -> Run:
            # Passed to setup as well; otherwise wandb's telemetry goes to the server in either mode.
            quiet = wandb.Settings(
                mode=mode,
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                init_timeout=CONNECT_TIMEOUT,
                login_timeout=CONNECT_TIMEOUT,
                finish_timeout=settings.finish_timeout,
            )
            wandb.setup(settings=quiet)
            return wandb.init(
                project=settings.project,
                entity=settings.entity,
                group=settings.group,
                job_type=job,
                name=f"{settings.group}-{job}" if settings.group else job,
                config=config,
                id=run_id,
                resume="allow",
                dir=str(self._folder),
                settings=quiet,
            )

        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            if settings.mode == "online" or (settings.mode == "auto" and has_credentials(settings.base_url)):
                if answers(settings.base_url, CONNECT_TIMEOUT):
                    try:
                        self._run, self._online = begin("online"), True
                        return
                    except Exception as error:
                        reason = f"cannot be used ({first_line(error)})"
                        # The service still holds the run's id; only a new service can open it on disk.
                        wandb.teardown()
                else:
                    reason = "does not answer"
                self._warn(f"W&B at {settings.base_url} {reason}; writing to disk instead")
            self._run = begin("offline")
            logger.info("W&B: offline run %s (WANDB_MODE=disabled: none; WANDB_DIR: another folder)", self.location)
        finally:
            self._opened.set()

    def _check_disk(self) -> None:
        """Warn if what wandb writes to disk is lost: its service drops it silently."""
        if self._run is not None and (problem := disk_problem(Path(self._run.dir))):
            self._warn(f"{Path(self._run.dir).parent} cannot be written ({problem}), so metrics are lost")

    def _close(self, exit_code: int) -> None:
        import wandb

        if self._run is not None:
            self._check_disk()
            self._run.finish(exit_code=exit_code)
        # Otherwise wandb does this when Python exits, without a time limit.
        wandb.teardown()


def _alias(digest: str) -> str:
    """Return the artifact alias of a digest: 12 of its hexadecimal digits."""
    return digest.removeprefix("sha256:")[:12]


def _manifest(folder: Path, kind: FolderKind) -> Any:
    from codetr.core.manifest import Manifest

    return Manifest.read(folder, kind)
