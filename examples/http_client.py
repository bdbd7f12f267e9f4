"""HTTPS with http.client; httpx takes the same context as verify=, aiohttp as ssl=. Arguments: port, SPIFFE ID."""

import http.client
import sys

import inborn

with inborn.X509Source() as source:
    context = inborn.client_context(source, inborn.authorize_id(inborn.parse_spiffe_id(sys.argv[2])))
    connection = http.client.HTTPSConnection("127.0.0.1", int(sys.argv[1]), context=context)
    connection.request("GET", "/")
    print(connection.getresponse().read().decode())
