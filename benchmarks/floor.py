"""The floor: one P-256 verify and one P-256 sign, with nothing around them."""

from __future__ import annotations

import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["floor_microseconds"]


def floor_microseconds(rounds: int = 2000) -> float:
    """CPU microseconds of one verify and one sign, median of five runs."""
    key = ec.generate_private_key(ec.SECP256R1())
    public, algorithm, data = key.public_key(), ec.ECDSA(hashes.SHA256()), b"x" * 300
    signature = key.sign(data, algorithm)
    results = []
    for _ in range(5):
        begun = time.process_time()
        for _ in range(rounds // 5):
            public.verify(signature, data, algorithm)
            key.sign(data, algorithm)
        results.append((time.process_time() - begun) / (rounds // 5) * 1e6)
    return sorted(results)[2]
