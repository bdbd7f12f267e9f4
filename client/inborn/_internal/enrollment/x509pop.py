"""What joiner and CA agree on for the evidence `x509pop`: which keys can prove, how, and how large all of it may be.

The proof is over the serialized body of the enrollment, under a context of its own: the body holds the CSR, the CA's
challenge, the chain and a nonce of the joiner's. So a signature that was made for one enrollment is good for no other
one, and whoever answers in the CA's name cannot have something of its own choice signed.
"""

from __future__ import annotations

import hashlib

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from inborn._internal.enrollment.proof_context import enroll_context
from inborn.errors import RequestError, UnauthenticatedError

__all__ = [
    "KIND",
    "MAX_CHAIN_LENGTH",
    "NONCE_SIZE",
    "BadProof",
    "ProvingKey",
    "UnusableKey",
    "check_key",
    "check_rsa",
    "fingerprint",
    "prove",
    "verify_proof",
]

KIND = "x509pop"
"""Its name as a kind of evidence, and the type of its selectors."""

MAX_CHAIN_LENGTH = 5  # the leaf and four issuers, as in SPIRE: enterprises have two or three
NONCE_SIZE = 32  # bytes
_RSA_BITS = range(2048, 8193)  # below, it can be broken; above, checking one signature takes the signer milliseconds
_MAX_RSA_EXPONENT = 2**32  # all keys in use have 65537; with one as long as the modulus, a check takes a hundred times

ProvingKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
ProvingPublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey

_PSS = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=32)


class UnusableKey(RequestError):
    """A key is of a type or size that cannot prove anything here."""


class BadProof(UnauthenticatedError):
    """A proof is not by the certificate's key, or not over this enrollment."""


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-1 of the DER, in hex: a name, as SPIRE has it, and no proof of anything."""
    return hashlib.sha1(certificate.public_bytes(Encoding.DER), usedforsecurity=False).hexdigest()


def check_key(key: object) -> ProvingPublicKey:
    """The public key, if it is one that proofs are made with: RSA of 2048 to 8192 bits, P-256, P-384. Raises
    `UnusableKey`."""
    if isinstance(key, rsa.RSAPublicKey):
        check_rsa(key)
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            raise UnusableKey(f"key is on the curve {key.curve.name}, P-256 and P-384 are taken")
        return key
    raise UnusableKey(f"key is of type {type(key).__name__}, RSA and ECDSA are taken")


def check_rsa(key: rsa.RSAPublicKey) -> None:
    """Whether a signature by this key is worth checking, and cheap to check. Raises `UnusableKey`."""
    if key.key_size not in _RSA_BITS:
        raise UnusableKey(f"RSA key has {key.key_size} bits, {_RSA_BITS[0]} to {_RSA_BITS[-1]} are taken")
    if key.public_numbers().e > _MAX_RSA_EXPONENT:
        raise UnusableKey("RSA key has an exponent above 2**32")


def prove(key: ProvingKey, body: bytes) -> bytes:
    """Sign an enrollment's body. Raises `UnusableKey`."""
    check_key(key.public_key())
    octets = enroll_context(KIND) + body
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(octets, _PSS, hashes.SHA256())
    return key.sign(octets, ec.ECDSA(_ec_hash(key.curve)))


def verify_proof(key: ProvingPublicKey, body: bytes, proof: bytes) -> None:
    """Raises `BadProof`. Not checked: what the body says."""
    octets = enroll_context(KIND) + body
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(proof, octets, _PSS, hashes.SHA256())
        else:
            key.verify(proof, octets, ec.ECDSA(_ec_hash(key.curve)))
    except InvalidSignature as e:
        raise BadProof("proof of possession is not by the certificate's key over this enrollment") from e


def _ec_hash(curve: ec.EllipticCurve) -> hashes.HashAlgorithm:
    return hashes.SHA384() if isinstance(curve, ec.SECP384R1) else hashes.SHA256()
