"""A server of gRPC that says what it hears, and its client: `serve`, or `ask PORT CA HOST`."""

import sys
import time
from concurrent import futures

import grpc


class Echo(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == "/test.Echo/Say":
            return grpc.unary_unary_rpc_method_handler(self.say)
        if call.method == "/test.Echo/Stream":
            return grpc.stream_stream_rpc_method_handler(lambda requests, _: requests)
        return None

    def say(self, request, context):
        if request == b"wait":
            time.sleep(3)
        if request == b"none":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
        return request


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port)
    server.wait_for_termination()


def status(call):
    try:
        call()
        return "none"
    except grpc.RpcError as error:
        return f"{error.code().name} {error.details()}"


def ask(port, ca, host):
    credentials = grpc.ssl_channel_credentials(open(ca, "rb").read())
    options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host)]
    with grpc.secure_channel(f"127.0.0.1:{port}", credentials, options) as channel:
        say = channel.unary_unary("/test.Echo/Say")
        print("unary:", say(b"hello", timeout=5).decode())
        parts = [str(number).encode() for number in range(1000)]
        heard = list(channel.stream_stream("/test.Echo/Stream")(iter(parts), timeout=5))
        print("stream:", sum(a == b for a, b in zip(heard, parts)), "of", len(heard))
        print("error:", status(lambda: say(b"none", timeout=5)))
        print("deadline:", status(lambda: say(b"wait", timeout=0.5)))
    print("served")


serve() if sys.argv[1] == "serve" else ask(*sys.argv[2:])
