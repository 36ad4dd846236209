"""A server of WebSocket that says what it hears, and its client: `serve`, or `ask PORT CA HOST`."""

import socket
import ssl
import sys

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import serve as listen


def echo(connection):
    for message in connection:
        if message == "close":
            connection.close(4000, "enough")
            return
        connection.send(message)


def serve():
    with listen(echo, "127.0.0.1", 0) as server:
        print(server.socket.getsockname()[1])
        server.serve_forever()


def ask(port, ca, host):
    context = ssl.create_default_context(cafile=ca)
    stream = socket.create_connection(("127.0.0.1", int(port)))
    with connect(f"wss://{host}:{port}/", sock=stream, ssl=context, server_hostname=host) as connection:
        connection.send("hello")
        print("text:", connection.recv(5))
        connection.send(bytes(300000))
        print("bytes:", len(connection.recv(5)))
        connection.send("close")
        try:
            connection.recv(5)
        except ConnectionClosed as closed:
            print("closed:", closed.rcvd.code, closed.rcvd.reason)
    print("served")


serve() if sys.argv[1] == "serve" else ask(*sys.argv[2:])
