"""A gRPC server that knows who calls."""

from concurrent.futures import ThreadPoolExecutor

import grpc

import inborn


def greet(request: bytes, context: grpc.ServicerContext) -> bytes:
    return f"hello {inborn.peer_identity(context).spiffe_id}".encode()


with inborn.X509Source() as source:
    interceptor = inborn.grpc_server_interceptor(source, inborn.authorize_any())
    server = grpc.server(ThreadPoolExecutor(4), interceptors=[interceptor])
    methods = {"Greet": grpc.unary_unary_rpc_method_handler(greet)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Greeter", methods),))
    print(server.add_secure_port("127.0.0.1:0", inborn.grpc_server_credentials(source)), flush=True)
    server.start()
    server.wait_for_termination()
