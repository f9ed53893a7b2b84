"""Speaks TLS to a server as the options of its address say, and says what is wrong when that fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from livectl.errors import ServerError

if TYPE_CHECKING:
    import socket

    from livectl.address import Address


def wrap_socket(sock: socket.socket, address: Address) -> socket.socket:
    """TLS by the options of the address that redis-py reads too."""
    import ssl

    options = dict(address.options)
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
        if options.get("ssl_cert_reqs") == "none" or options.get("ssl_check_hostname", "").lower() == "false":
            context.check_hostname = False
        if options.get("ssl_cert_reqs") == "none":
            context.verify_mode = ssl.CERT_NONE
        if certificate := options.get("ssl_certfile"):
            context.load_cert_chain(certificate, options.get("ssl_keyfile"))
    except OSError as error:
        raise file_error(address, error) from error
    try:
        return context.wrap_socket(sock, server_hostname=address.host)
    except OSError as error:
        raise handshake_error(address, error) from error


def file_error(address: Address, error: OSError) -> ServerError:
    """What a certificate or key that cannot be read says."""
    names = ", ".join(name for name, _ in address.options if name.endswith(("certs", "file")))
    return ServerError(
        f"the TLS files of {address.masked} cannot be used: {_reason(error)}", f"Look at {names or 'them'} there."
    )


def handshake_error(address: Address, error: OSError) -> ServerError:
    """What a handshake that failed says: an untrusted certificate, a server without TLS, silence."""
    import ssl

    without_tls = address.scheme.removesuffix("s")
    if isinstance(error, ssl.SSLCertVerificationError):
        return ServerError(
            f"{address.masked} shows a certificate that is not trusted: {error.verify_message}",
            "Name its authority in the address: ?ssl_ca_certs=/path/to/ca.pem.",
        )
    if isinstance(error, TimeoutError):
        return ServerError(
            f"{address.masked} says nothing to TLS: no answer in time", f"If it speaks none, write {without_tls}://."
        )
    reason = getattr(error, "reason", None) or _reason(error)
    return ServerError(
        f"{address.masked} does not speak TLS as livectl does: {reason}",
        f"If it speaks none, write {without_tls}://; if it wants a certificate, name it with ssl_certfile.",
    )


def amqp_options(address: Address) -> dict[str, Any]:
    """The TLS options of an address as py-amqp takes them."""
    import ssl

    names = {"ssl_ca_certs": "ca_certs", "ssl_certfile": "certfile", "ssl_keyfile": "keyfile"}
    options: dict[str, Any] = {names[name]: value for name, value in address.options if name in names}
    required = dict(address.options).get("ssl_cert_reqs")
    if required == "none":
        options["cert_reqs"] = ssl.CERT_NONE
    elif required == "optional":
        options["cert_reqs"] = ssl.CERT_OPTIONAL
    return options


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
