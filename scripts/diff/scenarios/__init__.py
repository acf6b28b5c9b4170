"""Every scenario, by kind."""

from . import datagrams, fragments, icmp, nat, others, tcp, tcp_random


def every(seed, count):
    """The written scenarios, then `count` generated ones."""
    written = (tcp, datagrams, icmp, fragments, nat, others)
    made = [item for kind in written for item in kind.scenarios()]
    return made + tcp_random.scenarios(seed, count)
