#!/usr/bin/env python3
"""Fetches a file by FTP with the control connection cut into segments of one byte.

Usage: ftp_bytes.py HOST FILE active|passive >CONTENT

With `nagle` as a fourth argument, each byte waits until the one before it was acknowledged: behind
a gateway that keeps bytes in silence such a client would wait for ever.
"""

import re
import socket
import sys


class Control:
    """The control connection."""

    def __init__(self, host, nagle):
        self.socket = socket.create_connection((host, 21), timeout=20)
        if not nagle:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.socket.makefile("rb")
        self.reply()

    def reply(self):
        """The last line of the next reply."""
        line = self.lines.readline().decode()
        while not re.match(r"\d\d\d ", line):
            line = self.lines.readline().decode()
            if not line:
                sys.exit("the server has closed the connection")
        return line

    def say(self, line):
        """Sends a line byte by byte; the server's reply."""
        for byte in (line + "\r\n").encode():
            self.socket.send(bytes([byte]))
        return self.reply()


def listen(control):
    """A listener at our own address, and the command that tells of it."""
    own = control.socket.getsockname()[0]
    family = socket.AF_INET6 if ":" in own else socket.AF_INET
    listener = socket.socket(family)
    listener.settimeout(20)
    listener.bind((own, 0))
    listener.listen(1)
    port = listener.getsockname()[1]
    if family == socket.AF_INET6:
        return listener, f"EPRT |2|{own}|{port}|"
    return listener, f"PORT {own.replace('.', ',')},{port >> 8},{port & 255}"


def main():
    host, name, mode = sys.argv[1:4]
    control = Control(host, nagle="nagle" in sys.argv[4:])
    control.say("USER anonymous")
    control.say("PASS x")
    control.say("TYPE I")
    if mode == "active":
        listener, command = listen(control)
        control.say(command)
        control.say(f"RETR {name}")
        data, _ = listener.accept()
    else:
        numbers = re.search(r"\(([\d,]+)\)", control.say("PASV")).group(1).split(",")
        data = socket.create_connection(
            (".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5])), timeout=20
        )
        control.say(f"RETR {name}")
    data.settimeout(20)
    while chunk := data.recv(65536):
        sys.stdout.buffer.write(chunk)
    control.reply()


main()
