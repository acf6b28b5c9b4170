"""Every scenario, by kind."""

from . import tcp, tcp_random


def every(seed, count):
    """The written scenarios, then `count` generated ones."""
    return tcp.scenarios() + tcp_random.scenarios(seed, count)
