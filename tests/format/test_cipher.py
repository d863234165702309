"""Test that the primitives agree with the libraries that they are from."""

import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st
from support.python_process import run

from encenv.format import cipher


@given(st.binary(min_size=1, max_size=200), st.binary(max_size=100))
def test_derivation(key, info):
    """derive() gives what cryptography's HKDF gives."""
    theirs = HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(key)
    assert cipher.derive(key, info) == theirs
    assert cipher.is_derived(key, info, theirs)
    assert not cipher.is_derived(key, info, theirs[:-1] + bytes([theirs[-1] ^ 1]))


def test_aes_gcm():
    """The AESGCM class is the one that cryptography's public name has."""
    assert cipher.AESGCM is AESGCM


def test_another_cryptography():
    """If cryptography moves the class, its public name is used."""
    code = """
    from cryptography.hazmat.bindings._rust import openssl
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    del openssl.aead
    from encenv.format import cipher
    print(cipher.AESGCM is AESGCM)
    """
    assert run(code, os.environ) == "True\n"
