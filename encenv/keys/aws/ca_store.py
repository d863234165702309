"""Trust the system's certificate authorities without parsing all of them at each start.

OpenSSL takes 19 ms to read the usual bundle. It reads a folder of hashed names only as needed. From a bundle, AWS's own
endpoints need only Amazon's few authorities; if they are not enough, the whole store is loaded. Nothing is trusted that
the system does not trust.
"""

import importlib.util
import os
import ssl
from binascii import a2b_base64
from collections.abc import Iterator, Mapping
from pathlib import Path

from encenv.errors import KeyUnreachableError

# Each of Amazon's authorities has one of these in its subject (Amazon Trust Services Repository, "Root CAs").
_AMAZON = (b"Amazon Root CA ", b"Starfield Services Root Certificate Authority - G2")
_BEGIN, _END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"  # RFC 7468, 5.1
_BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")  # botocore's own, in its order
_EXPLICIT = (*_BUNDLES, "SSL_CERT_FILE", "SSL_CERT_DIR")  # a store that the user names is loaded whole


def tls(environ: Mapping[str, str], *, is_amazon: bool) -> ssl.SSLContext:
    """Return a context that verifies a server's certificate and its name.

    Amazon's authorities are enough if the server *is_amazon*. The process environment may name another store in
    botocore's ``AWS_CA_BUNDLE`` and ``REQUESTS_CA_BUNDLE``, or in OpenSSL's ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``.

    Raises:
        KeyUnreachableError: If the named store cannot be read, or there is none.
    """
    context, paths = _context(), ssl.get_default_verify_paths()
    try:
        if store := next(filter(None, map(environ.get, _BUNDLES)), None):
            kind = "capath" if Path(store).is_dir() else "cafile"
            context.load_verify_locations(**{kind: store})
        elif any(environ.get(name) for name in _EXPLICIT):
            context.set_default_verify_paths()
        elif paths.capath and _has_hashed_names(paths.capath):
            context.load_verify_locations(capath=paths.capath)
        elif paths.cafile and is_amazon and (roots := b"".join(_amazon(Path(paths.cafile).read_bytes()))):
            context.load_verify_locations(cadata=roots)
        else:
            context.load_verify_locations(cafile=paths.cafile or _botocore_bundle())
    except FileNotFoundError:
        cause = "there is no such file"
    except PermissionError:
        cause = "permission denied"
    except (OSError, ValueError):  # ssl.SSLError, too
        cause = "they are not certificates"
    else:
        return context
    raise KeyUnreachableError(
        f"the certificate authorities that verify AWS KMS cannot be read: {cause}",
        hint="install the system's CA certificates, or name a file that holds them in AWS_CA_BUNDLE",
    )


def whole_tls(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return a context that trusts the system's whole store; None if the context of `tls` already does."""
    paths = ssl.get_default_verify_paths()
    if any(environ.get(name) for name in _EXPLICIT) or paths.cafile is None:
        return None
    context = _context()
    context.load_verify_locations(cafile=paths.cafile, capath=paths.capath)
    return context


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies, and checks the name
    # Python may be built so that only the system's configuration limits the versions.
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _has_hashed_names(folder: str) -> bool:
    """Return whether a name in *folder* is eight hexadecimal digits, a dot, and a number (openssl-rehash(1))."""
    with os.scandir(folder) as entries:
        names = (entry.name.partition(".") for entry in entries)
        return any(
            len(name) == 8 and not name.strip("0123456789abcdef") and n.isdecimal() for name, _, n in names
        )


def _amazon(bundle: bytes) -> Iterator[bytes]:
    """Yield Amazon's certificates in *bundle*, in DER."""
    for piece in bundle.split(_BEGIN)[1:]:  # a regular expression takes twice as long
        certificate = a2b_base64(piece.partition(_END)[0])
        if any(subject in certificate for subject in _AMAZON):
            yield certificate


def _botocore_bundle() -> str:
    """Return the file of authorities that botocore ships if it is installed; botocore is not imported."""
    spec = importlib.util.find_spec("botocore")
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, "cacert.pem")
        if path.is_file():
            return str(path)
    raise FileNotFoundError
