"""Real S3 servers for the store's tests and its benchmark, each as a place to keep buckets in."""

from __future__ import annotations

import datetime
import ipaddress
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from benchmarks.servers import serve_rclone
from boltzmann.store.moto_server import Application, OneRequestAtATime, QuietHandler
from boltzmann.store.s3 import S3Store
from boltzmann.store.server import start_moto

KEYS = ("the-first-access-key", "the-first-secret")
OTHER_KEYS = ("the-other-access-key", "the-other-secret")


@dataclass(frozen=True)
class Place:
    """A running S3 service: the endpoint that takes signed requests, and the one that is public."""

    endpoint: str
    public: str
    ca_bundle: Path | None = None

    def store(
        self,
        bucket: str,
        keys: tuple[str, str] = KEYS,
        *,
        public_url: str | None = None,
        threads: int = 16,
    ) -> S3Store:
        """A store on one bucket of this place; the bucket need not be there."""
        return S3Store(
            self.endpoint,
            bucket,
            *keys,
            public_url=public_url or f"{self.public}/{bucket}",
            ca_bundle=self.ca_bundle,
            threads=threads,
        )


@contextmanager
def moto_place(folder: Path) -> Iterator[Place]:
    """The embedded server of the local network, in a process of its own."""
    with start_moto(folder / "moto.log") as server:
        yield Place(server.url, server.url)


@contextmanager
def rclone_place(folder: Path, *, tls: bool = False) -> Iterator[Place]:
    """rclone on a folder: one endpoint that checks signatures, one that is public and read-only."""
    certificate = self_signed(folder) if tls else None
    secure = [f"--cert={certificate[0]}", f"--key={certificate[1]}"] if certificate else []
    (folder / "buckets").mkdir()
    keys = [f"--auth-key={','.join(pair)}" for pair in (KEYS, OTHER_KEYS)]
    # The public one would remember what was not there yet: no directory cache.
    public = ["--read-only", "--dir-cache-time=0s"]
    with ExitStack() as stack:
        endpoint, readers = (
            stack.enter_context(serve_rclone(folder / "buckets", [*options, *secure]))
            for options in (keys, public)
        )
        yield Place(endpoint, readers, certificate and certificate[0])


@contextmanager
def moto_behind(folder: Path, gate: Callable[[dict[str, Any]], str | None]) -> Iterator[Place]:
    """moto in this process, behind a gate that may answer a request with a status of its own."""
    inner = OneRequestAtATime(DomainDispatcherApplication(create_backend_app))

    def gated(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        status = gate(environ)
        if status is None:
            return inner(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        start(status, [("Content-Length", "0")])
        return []

    application: Application = gated
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=QuietHandler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.port}"
        yield Place(url, url)
    finally:
        server.shutdown()
        thread.join()


def refuses_conditions(environ: dict[str, Any]) -> str | None:
    """A gate like servers that do not implement conditional writes."""
    return "501 Not Implemented" if "HTTP_IF_NONE_MATCH" in environ else None


def self_signed(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, as PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(host, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = folder / "certificate.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(pem))
    files[1].write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
