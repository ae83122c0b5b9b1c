"""A real TLS server on loopback, with certificates of an authority that is made for the tests.

Owns the front that speaks TLS and hands what it deciphers on to a plain server. Knows no HTTP.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import trustme


class TlsFront:
    """Forwards to `target` ("host:port") what comes with TLS; a context manager.

    `heard` is every byte that clients sent to a server whose certificate they had accepted.
    """

    def __init__(self, target: str, certificate: trustme.LeafCert) -> None:
        self.heard = b""
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(self._context)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> TlsFront:
        self._start(self._accept)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for it
            each.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, work: object, *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, plain)

    def _serve(self, plain: socket.socket) -> None:
        self._open.append(plain)
        try:
            secret = self._context.wrap_socket(plain, server_side=True)
        except OSError:
            return plain.close()  # the client did not believe the certificate
        self._open.append(secret)
        behind = socket.create_connection(self._target)
        self._open.append(behind)
        self._start(self._back, behind, secret)
        with contextlib.suppress(OSError):
            while data := secret.recv(65536):
                self.heard += data
                behind.sendall(data)
        with contextlib.suppress(OSError):
            behind.shutdown(socket.SHUT_WR)
        return None

    def _back(self, behind: socket.socket, secret: ssl.SSLSocket) -> None:
        with contextlib.suppress(OSError):
            while data := behind.recv(65536):
                secret.sendall(data)
            secret.shutdown(socket.SHUT_RDWR)


@contextmanager
def tls_front(target: str, authority: trustme.CA, *names: str) -> Iterator[TlsFront]:
    """A front with a certificate for these names, loopback's when there are none."""
    with TlsFront(target, authority.issue_cert(*(names or ("127.0.0.1", "localhost")))) as front:
        yield front
