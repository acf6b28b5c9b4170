#!/usr/bin/env python3
"""One end of a PPP link that asks and answers nothing but LCP echoes, in place of pppd.

  ppp_end.py serve LOG [ARGUMENT]...
      answers on its standard input and output, as pptpd starts it, until the link is closed.
      Whatever else pptpd has to say is of no interest.
  ppp_end.py call NAME COUNT COMMAND...
      starts the command with the link on its standard input and output, sends COUNT echoes that
      carry NAME, and ends it. The last line says how many came back: "NAME COUNT of COUNT".

Frames are those of asynchronous links: RFC 1662, HDLC-like framing; RFC 1661, 5.8, the echoes.
"""

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import time
import tty

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
ADDRESS_CONTROL = b"\xff\x03"
LCP = b"\xc0\x21"
ECHO_REQUEST, ECHO_REPLY = 9, 10
INTERVAL = 0.1
PATIENCE = 6.0


def checksum(data):
    """The frame check sequence: CRC-16/X.25."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x8408 if crc & 1 else 0)
    return struct.pack("<H", crc ^ 0xFFFF)


def frame(packet):
    body = ADDRESS_CONTROL + packet
    out = bytearray([FLAG])
    for byte in body + checksum(body):
        escapes = byte in (FLAG, ESCAPE) or byte < FLIP
        out += bytes([ESCAPE, byte ^ FLIP]) if escapes else bytes([byte])
    return bytes(out + bytes([FLAG]))


class Frames:
    """Cuts what comes over the link into packets; a frame with a wrong checksum is none."""

    def __init__(self):
        self.body = bytearray()
        self.escaped = False

    def packets(self, data):
        for byte in data:
            if byte == FLAG:
                body = bytes(self.body)
                self.body.clear()
                if len(body) > 4 and checksum(body[:-2]) == body[-2:]:
                    yield body[:-2].removeprefix(ADDRESS_CONTROL)
            elif byte == ESCAPE:
                self.escaped = True
            else:
                self.body.append(byte ^ FLIP if self.escaped else byte)
                self.escaped = False


def echo(code, number, data):
    """An echo of a link whose ends have not agreed on magic numbers."""
    return LCP + struct.pack("!BBHI", code, number, 8 + len(data), 0) + data


def parse(packet):
    """The code, number and data of an echo; nothing for any other packet."""
    if packet[:2] != LCP or len(packet) < 10:
        return 0, 0, b""
    code, number, length = struct.unpack("!BBH", packet[2:6])
    return code, number, packet[10 : 2 + length]


def received(link, frames, seconds):
    """The echoes that come within this time; ends the program with the link."""
    if select.select([link], [], [], seconds)[0]:
        data = os.read(link, 4096)
        if not data:
            raise EOFError
        for packet in frames.packets(data):
            yield parse(packet)


def serve(path, *_):
    frames = Frames()
    with open(path, "a", encoding="utf-8") as log, contextlib.suppress(EOFError, OSError):
        if os.isatty(0):
            tty.setraw(0)
        # pptpd passes nothing on before it has heard from its end.
        os.write(1, frame(echo(ECHO_REQUEST, 0, b"ready")))
        while True:
            for code, number, data in received(0, frames, PATIENCE):
                if code == ECHO_REQUEST:
                    print("answered", number, data.decode(), file=log, flush=True)
                    os.write(1, frame(echo(ECHO_REPLY, number, data)))


def call(name, count, *command):
    count, back = int(count), set()
    ours, theirs = socket.socketpair()
    with ours, subprocess.Popen(command, stdin=theirs, stdout=theirs) as program:
        theirs.close()
        try:
            exchange(ours.fileno(), name, count, back)
        except (EOFError, OSError) as error:
            print(f"the link was closed: {error!r}")
        finally:
            program.terminate()
    print(f"{name} {len(back)} of {count}")


def exchange(link, name, count, back):
    """Sends the echoes, again and again those that have not come back, until time is up."""
    frames, until = Frames(), time.monotonic() + PATIENCE
    while len(back) < count and time.monotonic() < until:
        for number in range(1, count + 1):
            if number not in back:
                os.write(link, frame(echo(ECHO_REQUEST, number, f"{name} {number}".encode())))
                for code, answered, data in received(link, frames, INTERVAL):
                    if code == ECHO_REPLY and data == f"{name} {answered}".encode():
                        back.add(answered)


if __name__ == "__main__":
    {"serve": serve, "call": call}[sys.argv[1]](*sys.argv[2:])
