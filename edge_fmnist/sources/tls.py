"""TLS contexts of connections to cameras and brokers."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_fmnist.errors import UsageError

# Debian and Alpine, Fedora, others: FFmpeg needs one file, and OpenSSL is often compiled with a folder only.
SYSTEM_AUTHORITIES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


def client_context(authority: str | Path | None = None, *, insecure: bool = False) -> ssl.SSLContext:
    """Return a TLS context that verifies the server's certificate and host name.

    Args:
        authority: PEM file with the certificates that are trusted; None for those of the system.
        insecure: accept any certificate.

    Raises:
        UsageError: the file cannot be read, or contains no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=None if authority is None else str(authority))
    except ssl.SSLError as error:
        raise UsageError(f"{authority}: expected certificates in PEM format ({error})") from error
    except OSError as error:
        raise UsageError(f"{authority}: cannot be read ({error.strerror or error})") from error
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def ffmpeg_options(authority: str | Path | None, host: str, certificate: Mapping[str, Any]) -> dict[str, str]:
    """Return the options with which FFmpeg verifies the certificate that a server has shown before.

    FFmpeg compares a certificate with a name only if it is given one, and never with an address. For an address, it is
    given a name in the certificate, which was compared with the address in the connection before.

    Raises:
        UsageError: a file name that FFmpeg's options cannot carry, or there are no authorities of the system.
    """
    paths = [ssl.get_default_verify_paths().cafile, *SYSTEM_AUTHORITIES]
    found = authority or next((path for path in paths if path and Path(path).is_file()), None)
    if found is None or any(separator in str(found) for separator in ";|"):
        raise UsageError(f"expected a file of authorities, whose name has no ; and |, got {found}", setting="ca")
    alternatives = [value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"]
    common = [value for part in certificate.get("subject", ()) for kind, value in part if kind == "commonName"]
    names = [host]
    with suppress(ValueError):
        ipaddress.ip_address(host)
        names = [name for name in alternatives or common if "*" not in name]
    return {"tls_verify": "1", "ca_file": str(found), **({"verifyhost": names[0]} if names else {})}


def check_server_certificate(certificate: str | Path, key: str | Path | None) -> None:
    """Check that a server can use a certificate.

    Args:
        certificate: PEM file with the certificate and those of the authorities between it and the root.
        key: PEM file with its private key; None: the same file.

    Raises:
        UsageError: a file cannot be read, or they are no such pair.
    """
    files = f"{certificate}{'' if key is None else f' and {key}'}"
    for file in (certificate,) if key is None else (certificate, key):
        try:
            Path(file).read_bytes()
        except OSError as error:
            raise UsageError(f"{file}: cannot be read ({error.strerror or error})") from error
    try:
        # Without the function, OpenSSL would ask for the password of an encrypted key on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        raise UsageError(
            f"{files}: expected a certificate and its private key in PEM format, without a password ({error})"
        ) from error
