"""A client that talks to one server and no other: mutual TLS over a socket. Arguments: port, SPIFFE ID."""

import socket
import sys

import inborn

server = inborn.parse_spiffe_id(sys.argv[2])
with inborn.X509Source() as source:
    context = inborn.client_context(source, inborn.authorize_id(server))
    with context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1])))) as connection:
        print(connection.recv(100).decode(), end="")
