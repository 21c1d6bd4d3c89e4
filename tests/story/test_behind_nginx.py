"""Two servers behind a real nginx with the nginx.conf that is shipped, as it stands; only addresses are the test's.

Which server answered, nginx's access log says.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from conftest import free_port, serving

NGINX = shutil.which("nginx", path=f"{os.environ['PATH']}{os.pathsep}/usr/sbin")
SHIPPED = Path(__file__).parents[2] / "infrastructure" / "serving" / "nginx" / "nginx.conf"
PREDICT = json.dumps({"texts": ["Good morning!"]}).encode()

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx: apt-get install nginx (make test does, where it may)")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes


@dataclass(frozen=True)
class Proxy:
    """nginx, as callers and its own log see it."""

    port: int
    folder: Path

    def connection(self) -> http.client.HTTPSConnection:
        trust = ssl.create_default_context(cafile=str(self.folder / "certificate.pem"))
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=20, context=trust)

    def ask(
        self,
        method: str = "POST",
        path: str = "/predict",
        body: Any = None,
        over: http.client.HTTPSConnection | None = None,
        **headers: str,
    ) -> Answer:
        connection = over or self.connection()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        body = PREDICT if body is None and method == "POST" else body
        connection.request(method, path, body, {"Content-Type": "application/json", **given})
        response = connection.getresponse()
        answer = Answer(response.status, response.headers, response.read())
        if over is None:
            connection.close()
        return answer

    def log(self) -> list[dict[str, Any]]:
        """A line a request; each is written when its answer has been sent."""
        time.sleep(0.1)
        return [json.loads(line) for line in (self.folder / "access.log").read_text().splitlines()]


@contextmanager
def door(folder: Path, ports: list[int]) -> Iterator[Proxy]:
    """The shipped nginx.conf before servers on these ports."""
    assert NGINX
    folder.mkdir()
    port = free_port()
    certify(folder)
    shutil.copy(SHIPPED, folder)
    lines = [f"server 127.0.0.1:{there} max_fails=3 fail_timeout=10s;\n" for there in ports]
    (folder / "servers.conf").write_text("".join(lines))
    scratch = [f"{kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")]
    (folder / "site.conf").write_text(
        f"listen 127.0.0.1:{port} ssl;\nssl_certificate certificate.pem;\nssl_certificate_key key.pem;\n"
        f"access_log {folder}/access.log lakewright;\n{''.join(scratch)}"
    )
    # Root's nginx would give its work to a user who may not enter pytest's folder.
    start = f"daemon off; pid {folder}/nginx.pid;{' user root;' if os.getuid() == 0 else ''}"
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", start]
    checked = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0 and "[" not in checked.stderr, checked.stderr  # no [warn], no [emerg]
    with (folder / "error.log").open("w") as errors:
        nginx = subprocess.Popen(command, stderr=errors)
    try:
        wait_for(lambda: listens(port))
        yield Proxy(port, folder)
    finally:
        nginx.terminate()
        nginx.wait()


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def certify(folder: Path) -> None:
    """A certificate for 127.0.0.1 that vouches for itself."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))


@pytest.fixture(scope="module")
def two(greeter: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, list[int]]]:
    """A door and the ports of the two servers behind it, for the tests that break nothing."""
    folder = tmp_path_factory.mktemp("behind")
    with serving(greeter, folder=folder) as one, serving(greeter, folder=folder) as other:
        ports = [one.port, other.port]
        with door(folder / "nginx", ports) as nginx:
            yield nginx, ports


def test_nginx_has_nothing_to_say_about_its_configuration(tmp_path: Path) -> None:
    with door(tmp_path / "checked", [free_port()]) as nginx:
        answer = nginx.ask()  # there is no server; and door() has seen that nginx -t gives no warning
        assert answer.status == 502 and json.loads(answer.body)["request_id"] == answer.headers["X-Request-Id"]
        assert "[warn]" not in (nginx.folder / "error.log").read_text()


@pytest.mark.slow
def test_requests_take_turns(two: tuple[Proxy, list[int]]) -> None:
    nginx, ports = two
    before = len(nginx.log())
    assert [nginx.ask().status for _ in range(20)] == [200] * 20
    assert Counter(line["server"] for line in nginx.log()[before:]) == {f"127.0.0.1:{port}": 10 for port in ports}


def test_connections_are_kept_on_both_sides(two: tuple[Proxy, list[int]]) -> None:
    nginx, ports = two
    before, known = len(nginx.log()), connections(ports)
    connection = nginx.connection()
    assert {nginx.ask(over=connection).status for _ in range(100)} == {200}
    connection.close()
    lines = nginx.log()[before:]
    assert len({line["connection"] for line in lines}) == 1
    assert [line["connection_requests"] for line in lines] == list(range(1, 101))
    assert len(connections(ports) - known) <= 4


def connections(ports: list[int]) -> set[frozenset[Any]]:
    """Connections to servers on these ports, those just closed (TIME_WAIT) too."""
    import psutil

    found = psutil.net_connections("tcp4")
    return {
        frozenset([one.laddr, one.raddr]) for one in found if one.raddr and {one.laddr.port, one.raddr.port} & {*ports}
    }


def test_a_body_over_the_limit_is_refused_at_the_door(two: tuple[Proxy, list[int]]) -> None:
    nginx, _ = two
    texts = json.dumps({"texts": ["x" * 2000] * 600}).encode()  # more than nginx holds in memory: by way of a file
    assert nginx.ask(body=texts).status == 200
    before = len(nginx.log())
    for body in (bytes((8 << 20) + 1), (bytes(1 << 20) for _ in range(9))):  # one with its length, one without
        answer = nginx.ask(body=body)
        assert answer.status == 413
        assert json.loads(answer.body)["request_id"] == answer.headers["X-Request-Id"]
    assert [line["server"] for line in nginx.log()[before:]] == ["", ""]


@pytest.mark.parametrize("path", ["/metrics", "/metrics/", "/%6detrics", "//metrics", "/a/../metrics", "/metrics?a=b"])
def test_metrics_are_not_for_outside(two: tuple[Proxy, list[int]], path: str) -> None:
    nginx, _ = two
    assert nginx.ask("GET", path).status == 403
    assert nginx.log()[-1]["server"] == ""


def test_only_good_tls(two: tuple[Proxy, list[int]]) -> None:
    nginx, _ = two
    answer = nginx.ask("GET", "/ping")
    assert answer.status == 200 and nginx.log()[-1]["tls"] == "TLSv1.3"
    assert answer.headers["Strict-Transport-Security"] == "max-age=63072000"
    assert answer.headers["Server"] == "nginx"  # and no version
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):  # the server's word, not the client's
        old.wrap_socket(socket.create_connection(("127.0.0.1", nginx.port)))


def test_an_id_goes_all_the_way_and_no_secret_into_the_log(two: tuple[Proxy, list[int]]) -> None:
    nginx, _ = two
    answer = nginx.ask(path="/predict?key=hidden1", X_Request_Id="order-7", Authorization="Bearer hidden2")
    assert answer.headers.get_all("X-Request-Id") == ["order-7"]
    assert nginx.log()[-1]["request_id"] == "order-7" and nginx.log()[-1]["path"] == "/predict"
    made = nginx.ask(X_Request_Id='"} forged', body=b'{"texts": ["hidden3"]}').headers["X-Request-Id"]
    assert len(made) == 32 and nginx.log()[-1]["request_id"] == made
    assert "hidden" not in (nginx.folder / "access.log").read_text()


@contextmanager
def refusing(status: int, **headers: str) -> Iterator[tuple[int, list[str]]]:
    """A server that gives every request this status; its port, and the ids of those who asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            asked.append(self.headers["X-Request-Id"])
            self.send_response(status)
            for name, value in {**headers, "Content-Length": "0"}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port, asked
    finally:
        server.shutdown()
        server.server_close()


def test_a_server_that_sheds_load_is_believed(tmp_path: Path) -> None:
    with refusing(429, Retry_After="7") as (one, first), refusing(429, Retry_After="7") as (other, second):
        with door(tmp_path / "busy", [one, other]) as nginx:
            for _ in range(10):
                answer = nginx.ask()
                assert answer.status == 429 and answer.headers["Retry-After"] == "7"
        assert len(first) == len(second) == 5  # nobody was asked a second time, and nobody was taken for dead


def test_a_draining_server_costs_no_request(two: tuple[Proxy, list[int]], tmp_path: Path) -> None:
    _, (well, _) = two
    with refusing(503) as (draining, asked), door(tmp_path / "draining", [draining, well]) as nginx:
        assert [nginx.ask().status for _ in range(20)] == [200] * 20
        assert 1 <= len(asked) <= 3  # after which it is left alone


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_server_that_goes_costs_no_request(
    two: tuple[Proxy, list[int]], greeter: Path, tmp_path: Path, end: signal.Signals
) -> None:
    _, (stays, _) = two
    with serving(greeter, folder=tmp_path) as goes, door(tmp_path / "nginx", [goes.port, stays]) as nginx:
        statuses: list[Any] = []
        stop = threading.Event()

        def stream() -> None:
            connection = nginx.connection()
            while not stop.is_set():
                try:
                    statuses.append(nginx.ask(over=connection).status)
                except (OSError, http.client.HTTPException) as failure:
                    statuses.append(repr(failure))
                    connection.close()

        callers = [threading.Thread(target=stream, daemon=True) for _ in range(8)]
        for caller in callers:
            caller.start()
        wait_for(lambda: len(statuses) > 100)
        goes.process.send_signal(end)
        goes.process.wait(20)  # all the while requests go on
        so_far = len(statuses)
        wait_for(lambda: len(statuses) > so_far + 200)
        stop.set()
        for caller in callers:
            caller.join()
        failed = [status for status in statuses if status != 200]
        if end == signal.SIGKILL and failed:  # nobody can give a second answer to who has the head of the first: the
            (cut,) = failed  # one, of a server that writes one answer at a time, between its head and its body
            assert cut.startswith("IncompleteRead(0 bytes read"), cut
        else:
            assert not failed
        lines = nginx.log()
        again = [line["server"].split(", ") for line in lines if "," in line["server"]]
        assert again and all(tried == [f"127.0.0.1:{goes.port}", f"127.0.0.1:{stays}"] for tried in again)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "nothing goes on"
        time.sleep(0.01)
