"""Translation where two want one port, to servers inside, and back in by the way out."""

import itertools

import packet as pk
from model import INSIDE, OUTSIDE, WAN, Scenario, Step

from .talk import Ends

SERVERS = {4: ("100.96.0.2", "100.96.0.3"), 6: ("fd96::2", "fd96::3")}
PUBLIC = {4: (f"{WAN[4]}.20", f"{WAN[4]}.21"), 6: (f"{WAN[6]}:20", f"{WAN[6]}:21")}
MAKE = {"udp": pk.udp, "tcp": lambda a, b: pk.tcp(a, b, pk.SYN, 1000)}
ANSWER = {"udp": pk.udp, "tcp": lambda a, b: pk.tcp(a, b, pk.SYN | pk.ACK, 5000, 1001)}
INSIDE_CLIENTS = itertools.count(10)


def clash(family, name, kind="masquerade", port=5555, others=3):
    """Clients with one port and one server: each is answered."""
    first = Ends(family, kind, port=port)
    clients = [first.client] + [Ends(family, kind, port=port).client for _ in range(others)]
    steps = [Step(INSIDE, MAKE[name](client, first.server)) for client in clients]
    return steps + [Step(OUTSIDE, ANSWER[name](first.server, client)) for client in clients]


def pings(family):
    """Clients with one identifier and one host."""
    ends = [Ends(family, "masquerade") for _ in range(3)]
    host = ends[0].server[0]
    steps = [Step(INSIDE, pk.echo(e.client[0], host, 9)) for e in ends]
    return steps + [Step(OUTSIDE, pk.echo(host, e.client[0], 9, reply=True)) for e in ends]


def published(family, name):
    """A client outside reaches a server inside; the server's own word does not come through."""
    ends = Ends(family)
    client, public, server = ends.server, (PUBLIC[family][0], 80), (SERVERS[family][0], 8080)
    client = (client[0], 30000)
    return [Step(OUTSIDE, MAKE[name](client, public), carry=False),
            Step(INSIDE, ANSWER[name](server, client)),
            Step(OUTSIDE, pk.complaint(client[0], public[0], *((3, 3) if family == 4 else (1, 4)),
                                       ANSWER[name](public, client)), carry=False),
            Step(INSIDE, pk.complaint(server[0], client[0], *((3, 3) if family == 4 else (1, 4)),
                                      MAKE[name](client, server)))]


def whole_host(family):
    """Every protocol of a host is passed on."""
    ends = Ends(family)
    outside, public, server = ends.server[0], PUBLIC[family][1], SERVERS[family][1]
    return [Step(OUTSIDE, pk.echo(outside, public, 3), carry=False),
            Step(INSIDE, pk.echo(server, outside, 3, reply=True)),
            Step(OUTSIDE, pk.udp((outside, 1000), (public, 53)), carry=False),
            Step(INSIDE, pk.udp((server, 53), (outside, 1000))),
            Step(OUTSIDE, pk.ip(outside, public, 50, b"12345678"), carry=False),
            Step(INSIDE, pk.ip(server, outside, 50, b"12345678"))]


def hairpin(family, name):
    """An inside client reaches the inside server by its public address."""
    number = next(INSIDE_CLIENTS)
    client = ((f"100.97.0.{number}", f"fd97::{number:x}")[family == 6], 40000)
    public, server = (PUBLIC[family][0], 80), (SERVERS[family][0], 8080)
    return [Step(INSIDE, MAKE[name](client, public)), Step(INSIDE, ANSWER[name](server, client))]


def written():
    """Name and steps of each."""
    for family in (4, 6):
        for name in ("udp", "tcp"):
            yield f"clash-{name}{family}", clash(family, name)
            yield f"low-port-clash-{name}{family}", clash(family, name, port=53)
            yield f"middle-port-clash-{name}{family}", clash(family, name, port=700)
            yield f"range-{name}{family}", clash(family, name, "ports", 4000, 4)
            yield f"published-{name}{family}", published(family, name)
            yield f"hairpin-{name}{family}", hairpin(family, name)
        yield f"ping-clash{family}", pings(family)
        yield f"whole-host{family}", whole_host(family)


def scenarios():
    """All of them."""
    return [Scenario(f"nat-{name}", steps) for name, steps in written()]
