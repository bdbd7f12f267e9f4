"""A daemon on a machine without an agent. Arguments: the CA's address, the token's file, a directory of its own."""

import sys

import inborn

with inborn.enroll(ca=sys.argv[1], join_token_file=sys.argv[2], directory=sys.argv[3]) as source:
    context = inborn.server_context(source, inborn.authorize_any())  # renews itself, and follows revocations
    print(source.svid.spiffe_id)
