"""A server that answers requests with any bytes, at any speed, or not at all."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field


def response(body: bytes, content_type: str = "application/json", status: str = "200 OK", extra: str = "") -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{extra}"
    return f"{head}Connection: close\r\n\r\n".encode() + body


HEALTHY = response(b'{"multi_user": false}')


@dataclass
class BrokenServer:
    """Answers the health check as it should, and every other request with `answer`.

    Attributes:
        listener: on a free port.
        answer: the bytes; None never answers.
        health: the answer to the health check.
        seconds_per_byte: how slowly it sends.
        requests: the head of every request.
    """

    listener: socket.socket
    answer: bytes | None
    health: bytes | None = HEALTHY
    seconds_per_byte: float = 0.0
    requests: list[str] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.handle, args=(connection,), daemon=True).start()

    def handle(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            head = connection.recv(1 << 20).decode("latin-1")
            self.requests.append(head)
            answer = self.health if "/healthz" in head.split("\r\n")[0] else self.answer
            if answer is None:
                connection.recv(1 << 20)  # until the client goes
                return
            if self.seconds_per_byte and answer is self.answer:
                for byte in answer:
                    connection.sendall(bytes([byte]))
                    time.sleep(self.seconds_per_byte)
            else:
                connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 20):
                pass


@contextmanager
def broken_server(answer: bytes | None, **fields: object) -> Iterator[BrokenServer]:
    """A server as long as the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = BrokenServer(listener, answer, **fields)  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve, daemon=True)
        thread.start()
        yield server
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
