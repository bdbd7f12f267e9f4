"""A server that knows who calls: mutual TLS over asyncio."""

import asyncio

import inborn


async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(f"hello {writer.get_extra_info('ssl_object').spiffe_id}\n".encode())
    writer.close()


async def main() -> None:
    async with inborn.X509Source.open() as source:
        context = inborn.server_context(source, inborn.authorize_any())
        server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=context)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


asyncio.run(main())
