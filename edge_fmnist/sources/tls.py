"""TLS contexts of connections to cameras and brokers."""

from __future__ import annotations

import ssl
from pathlib import Path

from edge_fmnist.errors import UsageError


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


def check_server_certificate(certificate: str | Path, key: str | Path | None) -> None:
    """Check that a server can use a certificate.

    Args:
        certificate: PEM file with the certificate and those of the authorities between it and the root.
        key: PEM file with its private key; None: the same file.

    Raises:
        UsageError: a file cannot be read, or they are no such pair.
    """
    files = f"{certificate}{'' if key is None else f' and {key}'}"
    try:
        # Without the function, OpenSSL would ask for the password of an encrypted key on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except ssl.SSLError as error:
        raise UsageError(
            f"{files}: expected a certificate and its private key in PEM format, without a password ({error})"
        ) from error
    except OSError as error:
        raise UsageError(f"{files}: cannot be read ({error.strerror or error})") from error
