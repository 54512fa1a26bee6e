"""Debian's nginx and Caddy before the web server, with the configuration files that are shipped in docker/proxy."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from config.dev.embedded import ROOT

SHIPPED = ROOT / "docker/proxy"
READY_SECONDS = 30


@dataclass(frozen=True)
class Certificate:
    """A certificate of localhost that has signed itself, and its key, as PEM files."""

    path: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return what a client needs that trusts it."""
        return ssl.create_default_context(cafile=str(self.path))


def make_certificate(directory: Path) -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate = Certificate(directory / "fullchain.pem", directory / "privkey.pem")
    certificate.path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    certificate.key.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate


@dataclass(frozen=True)
class Ports:
    http: int
    https: int


@contextmanager
def nginx(
    directory: Path, certificate: Certificate, ports: Ports, upstream: str, *, prefix: str = "", buffering: bool = True
) -> Iterator[None]:
    """Run nginx with the shipped server blocks, at other ports and with this certificate."""
    text = replaced(
        (SHIPPED / "nginx.conf").read_text(),
        {
            "server 127.0.0.1:8000;": f"server {upstream};",
            "listen 80;": f"listen 127.0.0.1:{ports.http} reuseport;",
            "listen [::]:80;": "",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{ports.https} ssl http2 reuseport;",
            "listen [::]:443 ssl http2;": "",
            "server_name wallet.example.org;": "server_name localhost;",
            "https://$host$request_uri": f"https://$host:{ports.https}$request_uri",
            "/etc/ssl/wallet.example.org/fullchain.pem": f'"{certificate.path}"',
            "/etc/ssl/wallet.example.org/privkey.pem": f'"{certificate.key}"',
            "/var/log/nginx/coppice-error.log": f'"{directory}/error.log"',
            "/var/log/nginx/coppice.log": f'"{directory}/access.log"',
            "location / {": f"location {prefix}/ {{",
        },
    )
    if not buffering:
        text = text.replace(
            "proxy_pass ", "proxy_request_buffering off;\n        proxy_buffering off;\n        proxy_pass "
        )
    (directory / "coppice.conf").write_text(text)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "\n".join(f'{kind}_temp_path "{directory}/{kind}";' for kind in kinds)
    account = "user root;" if os.geteuid() == 0 else ""
    (directory / "main.conf").write_text(
        f'daemon off;\nmaster_process on;\nworker_processes 1;\n{account}\npid "{directory}/nginx.pid";\n'
        f'events {{}}\nhttp {{\n{temporary}\ninclude "{directory}/coppice.conf";\n}}\n'
    )
    command = ["nginx", "-e", f"{directory}/start.log", "-p", str(directory), "-c", str(directory / "main.conf")]
    with _running(command, directory / "start.log", ports):
        yield


@contextmanager
def caddy(
    directory: Path, certificate: Certificate, ports: Ports, upstream: str, *, prefix: str = ""
) -> Iterator[None]:
    """Run Caddy with the shipped file, at other ports and with this certificate."""
    options = f"\tadmin off\n\tskip_install_trust\n\thttp_port {ports.http}\n\thttps_port {ports.https}\n"
    text = replaced(
        (SHIPPED / "Caddyfile").read_text(),
        {
            "\tlog {\n": f"{options}\tlog {{\n",
            "\trequest_body {": f'\ttls "{certificate.path}" "{certificate.key}"\n\trequest_body {{',
        },
    )
    if prefix:
        before, proxied = text.split("\treverse_proxy ", 1)
        text = f"{before}\thandle {prefix}/* {{\n\treverse_proxy {proxied.rstrip()}\n}}\n"
    (directory / "Caddyfile").write_text(text)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "XDG_DATA_HOME": str(directory),
        "XDG_CONFIG_HOME": str(directory),
        "COPPICE_SITE": "localhost",
        "COPPICE_UPSTREAM": upstream,
    }
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(directory / "Caddyfile")]
    with _running(command, directory / "caddy.log", ports, environment):
        yield


def is_here(program: str) -> bool:
    return shutil.which(program) is not None


def replaced(text: str, by: dict[str, str]) -> str:
    """Replace each key, which must occur in the text."""
    for old, new in by.items():
        assert old in text, f"the shipped file no longer holds {old!r}"
        text = text.replace(old, new)
    return text


@contextmanager
def _running(command: list[str], log: Path, ports: Ports, environment: dict[str, str] | None = None) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not all(_accepts(port) for port in (ports.http, ports.https)):
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} did not start: {log.read_text()}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        finally:
            process.kill()


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
