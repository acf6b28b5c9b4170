#!/usr/bin/env python3
"""One end of a file that one IRC client sends another, directly (DCC).

  dcc.py offer SERVER NICK FILE PEER
      listens, tells PEER where, and sends the file to who comes.
  dcc.py take SERVER NICK FILE
      waits for such an offer, and fetches the file.
  dcc.py call SERVER NICK FILE PEER
      asks PEER to listen (reverse DCC), and sends the file there.
  dcc.py listen SERVER NICK FILE
      waits for such a call, listens, tells the caller where, and receives the file.

Each says "ready" when the server knows it, and "told ADDRESS PORT" when it has heard where to
connect to. Who listens tells the address that it has itself. The last line of who sends is
"sent BYTES", once all is acknowledged, and of who receives "got BYTES".
"""

import ipaddress
import socket
import struct
import sys

IRC_PORT = 6667
PATIENCE = 8.0
TOKEN = "77"


class Client:
    """A client that its server has welcomed."""

    def __init__(self, server, nick):
        self.socket = socket.create_connection((server, IRC_PORT), timeout=PATIENCE)
        self.lines = self.socket.makefile("r", encoding="latin-1", newline="\n")
        self.say(f"NICK {nick}")
        self.say(f"USER {nick} 0 * :{nick}")
        self.wait("001")
        print("ready", flush=True)

    def say(self, line):
        self.socket.sendall(f"{line}\r\n".encode("latin-1"))

    def wait(self, command):
        """Who sent the next message with this command, and the last of its parameters."""
        for line in self.lines:
            line = line.rstrip("\r\n")
            if line.startswith("PING"):
                self.say("PONG" + line[4:])
            elif line.split(" ")[1] == command:
                return line[1:].split("!")[0], line.split(" :", 1)[-1]
        raise ConnectionError("the server closed the connection")

    def send_offer(self, peer, port, *rest):
        own = int(ipaddress.ip_address(self.own_address()))
        words = " ".join(str(word) for word in (own, port, *rest))
        self.say(f"PRIVMSG {peer} :\x01DCC SEND file {words}\x01")

    def next_offer(self):
        """The next offer: who it is from, the endpoint, and what follows that."""
        while True:
            peer, text = self.wait("PRIVMSG")
            if text.startswith("\x01DCC SEND "):
                _, address, port, *rest = text.strip("\x01").split(" ")[2:]
                address = str(ipaddress.ip_address(int(address)))
                print("told", address, port, flush=True)
                return peer, (address, int(port)), rest

    def own_address(self):
        return self.socket.getsockname()[0]

    def listener(self):
        server = socket.create_server((self.own_address(), 0))
        server.settimeout(PATIENCE)
        return server


def offer(client, path, peer):
    with client.listener() as server, open(path, "rb") as file:
        data = file.read()
        client.send_offer(peer, server.getsockname()[1], len(data))
        send(server.accept()[0], data)


def take(client, path):
    _, endpoint, rest = client.next_offer()
    receive(connect(endpoint), path, int(rest[0]))


def call(client, path, peer):
    with open(path, "rb") as file:
        data = file.read()
    client.send_offer(peer, 0, len(data), TOKEN)
    _, endpoint, rest = client.next_offer()
    if rest[-1] != TOKEN:
        raise ValueError(f"an answer to another call: {rest}")
    send(connect(endpoint), data)


def listen(client, path):
    peer, _, rest = client.next_offer()
    with client.listener() as server:
        client.send_offer(peer, server.getsockname()[1], *rest)
        receive(server.accept()[0], path, int(rest[0]))


def connect(endpoint):
    return socket.create_connection(endpoint, timeout=PATIENCE)


def send(stream, data):
    """All of it, until the receiver has acknowledged the last byte."""
    stream.settimeout(PATIENCE)
    with stream, stream.makefile("rb") as answers:
        stream.sendall(data)
        while (answer := answers.read(4)) != struct.pack("!I", len(data)):
            if len(answer) < 4:
                raise ConnectionError("closed before all was acknowledged")
    print("sent", len(data))


def receive(stream, path, size):
    stream.settimeout(PATIENCE)
    got = 0
    with stream, open(path, "wb") as file:
        while got < size and (part := stream.recv(65536)):
            got += file.write(part)
            stream.sendall(struct.pack("!I", got))
    print("got", got)


if __name__ == "__main__":
    roles = {"offer": offer, "take": take, "call": call, "listen": listen}
    role, server, nick, *rest = sys.argv[1:]
    roles[role](Client(server, nick), *rest)
