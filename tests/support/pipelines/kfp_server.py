"""A small Kubeflow Pipelines server: the REST routes that submitting and waiting use, over real HTTP.

Runs go PENDING → RUNNING → `ending`, one state with every look at them, as on a server where time passes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

API = "/apis/v2beta1"


class PipelineServer(ThreadingHTTPServer):
    """The server's state, which tests read and set.

    Attributes:
        experiments: as they were created.
        runs: as they were created, with their state.
        first_state: the state of a new run.
        ending: the state in which a run ends.
        reason: the message of the task `train` of a run that ends as FAILED.
        refusal: status and message of the answer to a new run or to the end of one; None to accept it.
        several_users: what the health check says.
        token: the bearer token that requests need; None for none.
        ends_slowly: a run that is to end goes on.
        rival: whether another process starts the same run a second before the next one.
        cookie: the cookie that they need; without it they are redirected to a page to log in. None for none.
        broken_answers: how many of the next requests for a run are answered with 503.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.experiments: list[dict[str, Any]] = []
        self.runs: list[dict[str, Any]] = []
        self.first_state = "PENDING"
        self.ending = "SUCCEEDED"
        self.reason = "out of memory"
        self.refusal: tuple[int, str] | None = None
        self.several_users = False
        self.token: str | None = None
        self.cookie: str | None = None
        self.broken_answers = 0
        self.ends_slowly = False
        self.rival = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: PipelineServer

    def do_GET(self) -> None:
        if not self.allowed():
            return
        url = urlparse(self.path)
        parts = url.path.removeprefix(API).strip("/").split("/")
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        match parts:
            case ["page", *_]:
                self.answer_page("<html>The user interface</html>")
            case ["healthz"]:
                self.answer({"multi_user": self.server.several_users})
            case ["experiments"]:
                self.answer({"experiments": self.named(self.server.experiments, query)})
            case ["runs"]:
                self.list_runs(query)
            case ["runs", run_id]:
                self.show_run(run_id)
            case _:
                self.answer({"message": f"no route {url.path}"}, 404)

    def do_POST(self) -> None:
        if not self.allowed():
            return
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        match urlparse(self.path).path.removeprefix(API).strip("/"):
            case path if path.endswith(":terminate"):
                self.terminate(path.removeprefix("runs/").removesuffix(":terminate"))
            case "experiments":
                body["experiment_id"] = f"experiment-{len(self.server.experiments)}"
                self.server.experiments.append(body)
                self.answer(body)
            case "runs" if self.server.refusal is not None:
                status, message = self.server.refusal
                self.answer({"message": message}, status)
            case "runs":
                self.create_run(body)
            case path:
                self.answer({"message": f"no route {path}"}, 404)

    def create_run(self, run: dict[str, Any]) -> None:
        """Add a run, after that of a rival if there is one."""
        now = datetime.now(UTC).replace(microsecond=0)
        if self.server.rival:
            self.server.rival = False
            earlier = (now - timedelta(seconds=1)).isoformat()
            self.server.runs.append({**run, "run_id": "rival", "state": "RUNNING", "created_at": earlier})
        run |= {"run_id": f"run-{len(self.server.runs)}", "state": self.server.first_state}
        run["created_at"] = now.isoformat()
        self.server.runs.append(run)
        self.answer(run)

    def list_runs(self, query: dict[str, str]) -> None:
        """A page of the runs that a filter leaves, newest first; its token is where the next one begins."""
        runs = [run for run in reversed(self.server.runs) if run["experiment_id"] == query["experiment_id"]]
        found = self.named(runs, query) if "filter" in query else runs
        begin, size = int(query.get("page_token", "0")), int(query["page_size"])
        following = {"next_page_token": str(begin + size)} if begin + size < len(found) else {}
        self.answer({"runs": found[begin : begin + size], **following})

    def terminate(self, run_id: str) -> None:
        found = [run for run in self.server.runs if run["run_id"] == run_id]
        if self.server.refusal is not None:
            status, message = self.server.refusal
            self.answer({"message": message}, status)
        elif not found:
            self.answer({"message": f"no run {run_id}"}, 404)
        elif found[0]["state"] in ("SUCCEEDED", "FAILED", "CANCELED"):
            self.answer({"message": "the run has ended"}, 400)
        else:
            found[0]["state"] = "RUNNING" if self.server.ends_slowly else "CANCELING"
            self.answer({})

    def show_run(self, run_id: str) -> None:
        if self.server.broken_answers > 0:
            self.server.broken_answers -= 1
            self.answer({"message": "the database is restarting"}, 503)
            return
        found = [run for run in self.server.runs if run["run_id"] == run_id]
        if not found:
            self.answer({"message": f"no run {run_id}"}, 404)
            return
        [run] = found
        if run["state"] == "FAILED":
            error = {"code": 13, "message": self.server.reason}
            run["run_details"] = {"task_details": [{"display_name": "train", "state": "FAILED", "error": error}]}
        self.answer(run)
        following = {"PENDING": "RUNNING", "RUNNING": self.server.ending, "CANCELING": "CANCELED"}
        run["state"] = following.get(run["state"], run["state"])

    def named(self, entries: list[dict[str, Any]], query: dict[str, str]) -> list[dict[str, Any]]:
        """Those with the name that the query's filter asks for."""
        [predicate] = json.loads(query["filter"])["predicates"]
        return [entry for entry in entries if entry["display_name"] == predicate["stringValue"]]

    def allowed(self) -> bool:
        if self.server.cookie is not None and self.headers["Cookie"] != self.server.cookie:
            self.send_response(302)
            self.send_header("Location", "/dex/auth?client_id=kubeflow")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return False
        if self.server.token is None or self.headers["Authorization"] == f"Bearer {self.server.token}":
            return True
        self.answer({"message": "who are you?"}, 401)
        return False

    def answer(self, value: Any, status: int = 200) -> None:
        self.send(json.dumps(value).encode(), "application/json", status)

    def answer_page(self, page: str) -> None:
        """Answer as a web server does that shows one page at every address."""
        self.send(page.encode(), "text/html", 200)

    def send(self, payload: bytes, content_type: str, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Say nothing."""


@contextmanager
def running_server() -> Iterator[PipelineServer]:
    """A server on a free port, as long as the block lasts."""
    with PipelineServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
