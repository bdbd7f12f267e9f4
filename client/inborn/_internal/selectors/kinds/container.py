"""What the container attestor says: facts of a container of Docker or Podman. Names are SPIRE's (pure).

What the engine computed itself is its own word. Labels, environment and the image's name (a tag that can be moved) are
the words of whoever called the engine. An engine that an ordinary user runs says what that user likes, digests of
images included: its facts are of the type `rootless`, and all of them are that user's word.
"""

from __future__ import annotations

from inborn._internal.selectors.declaration import AttestorDeclaration, SelectorKey, SelectorType, TrustClass

__all__ = ["DECLARATION", "DOCKER", "ROOTLESS"]

# Of the sigstore block of SPIRE's docker attestor (doc/plugin_agent_workloadattestor_docker.md).
_SPIRE_KEYS = frozenset(
    {
        "image-attestations",
        "image-signature",
        "image-signature-integrated-time",
        "image-signature-issuer",
        "image-signature-log-id",
        "image-signature-log-index",
        "image-signature-signed-entry-timestamp",
        "image-signature-subject",
        "image-signature-value",
    }
)

DOCKER = SelectorType(
    name="docker",
    spire_keys=_SPIRE_KEYS,
    keys=(
        SelectorKey(
            name="label",
            example="app:web",
            says="a label of the container",
            forger="whoever may start containers",
            trust=TrustClass.STARTER,
        ),
        SelectorKey(
            name="env",
            example="APP_ENV=prod",
            says="a variable that the container was started with",
            forger="whoever may start containers",
            trust=TrustClass.STARTER,
        ),
        SelectorKey(
            name="image_id",
            example="web:1",
            says="the image's name, a tag that can be moved",
            forger="whoever may tag images",
            trust=TrustClass.STARTER,
        ),
        SelectorKey(
            name="image_config_digest",
            example="sha256:DIGEST",
            says="the image's digest, by the engine",
            forger="nobody; but see below",
            trust=TrustClass.RUNTIME,
            is_party_fact=True,
        ),
    ),
)

ROOTLESS = SelectorType(
    name="rootless",
    keys=tuple(
        SelectorKey(
            name=key.name,
            example=key.example,
            says=f"as `docker:{key.name}`, said by an engine that an ordinary user runs",
            forger="that user",
            trust=TrustClass.STARTER,
        )
        for key in DOCKER.keys
    ),
)

DECLARATION = AttestorDeclaration(
    kind="container",
    about="The container that the process lives in, by the word of its engine, held against the kernel's. Docker and "
    "Podman alike.",
    types=(DOCKER, ROOTLESS),
    caution="The digest of an image says where a container's files come from, and not what runs in it: whoever may "
    "start containers can mount a file of their own over the image's program.",
)
