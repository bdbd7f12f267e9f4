"""An ASGI application that knows who calls, on uvicorn."""

import uvicorn

import inborn
from inborn.uvicorn_adapter import uvicorn_options


async def app(scope, receive, send):
    if scope["type"] == "http":
        peer = scope["extensions"]["tls"]["spiffe_id"]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": f"hello {peer}".encode()})


with inborn.X509Source() as source:
    options = uvicorn_options(source, inborn.authorize_any())
    uvicorn.run(app, host="127.0.0.1", port=0, **options)
