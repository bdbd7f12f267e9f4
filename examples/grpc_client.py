"""A gRPC client that talks to one server and no other. Arguments: port, SPIFFE ID."""

import sys

import inborn

server = inborn.parse_spiffe_id(sys.argv[2])
with inborn.X509Source() as source:
    with inborn.grpc_channel(source, f"127.0.0.1:{sys.argv[1]}", inborn.authorize_id(server)) as channel:
        print(channel.unary_unary("/Greeter/Greet")(b"", timeout=5).decode())
