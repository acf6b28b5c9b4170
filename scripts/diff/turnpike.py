"""Turnpike as a router: all steps in one replay, and what it said of each."""

import json
import pathlib
import struct
import subprocess

import capture
import model
import packet as pk
from model import INSIDE, OUTSIDE, LAN, WAN

MAC = b"\x02\0\0\0\0\x01"
ETHERNET = 1
# The least that the pcap format asks for: little-endian, nanoseconds.
PCAP_HEADER = struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262144, ETHERNET)

RULES = f"""
  filter: [ {{ chain: input, action: drop }} ]
  nat:
    - {{ chain: dstnat, protocol: tcp, dst-address: "{WAN[4]}.20", dst-port: "80",
        action: dst-nat, to-addresses: 100.96.0.2, to-ports: 8080 }}
    - {{ chain: dstnat, protocol: udp, dst-address: "{WAN[4]}.20", dst-port: "80",
        action: dst-nat, to-addresses: 100.96.0.2, to-ports: 8080 }}
    - {{ chain: dstnat, dst-address: "{WAN[4]}.21", action: dst-nat, to-addresses: 100.96.0.3 }}
    - {{ chain: dstnat, protocol: tcp, dst-address: "{WAN[6]}:20", dst-port: "80",
        action: dst-nat, to-addresses: "fd96::2", to-ports: 8080 }}
    - {{ chain: dstnat, protocol: udp, dst-address: "{WAN[6]}:20", dst-port: "80",
        action: dst-nat, to-addresses: "fd96::2", to-ports: 8080 }}
    - {{ chain: dstnat, dst-address: "{WAN[6]}:21", action: dst-nat, to-addresses: "fd96::3" }}
    - {{ chain: srcnat, src-address: "100.96.0.0/12", out-interface: lan, action: masquerade }}
    - {{ chain: srcnat, src-address: "fd90::/12", out-interface: lan, action: masquerade }}
    - {{ chain: srcnat, src-address: "100.64.0.0/12", out-interface: wan, action: masquerade }}
    - {{ chain: srcnat, src-address: "fd64::/16", out-interface: wan, action: masquerade }}
    - {{ chain: srcnat, protocol: tcp, src-address: "100.80.0.0/12", out-interface: wan,
        action: src-nat, to-addresses: "{WAN[4]}.10", to-ports: "4000-4003" }}
    - {{ chain: srcnat, protocol: udp, src-address: "100.80.0.0/12", out-interface: wan,
        action: src-nat, to-addresses: "{WAN[4]}.10", to-ports: "4000-4003" }}
    - {{ chain: srcnat, protocol: tcp, src-address: "fd80::/16", out-interface: wan,
        action: src-nat, to-addresses: "{WAN[6]}:10", to-ports: "4000-4003" }}
    - {{ chain: srcnat, protocol: udp, src-address: "fd80::/16", out-interface: wan,
        action: src-nat, to-addresses: "{WAN[6]}:10", to-ports: "4000-4003" }}
"""


def config(options):
    """The configuration that says what the kernel's rules and switches say."""
    routes = "".join(f'\n  - {{ dst-address: "{net}", gateway: "{gateway}" }}' for net, gateway in (
        ("10.0.0.0/8", f"{LAN[4]}.2"), ("100.64.0.0/10", f"{LAN[4]}.2"),
        ("fd00::/8", f"{LAN[6]}:2"), ("0.0.0.0/0", f"{WAN[4]}.2"), ("::/0", f"{WAN[6]}:2")))
    return f"""interfaces:
  lan: {{ device: net_null0, address: ["{LAN[4]}.1/24", "{LAN[6]}:1/64"] }}
  wan: {{ device: net_null1, address: ["{WAN[4]}.1/24", "{WAN[6]}:1/64"] }}
routes:{routes}
connection-tracking:
  enabled: yes
  max-entries: 262144
  loose-tcp-tracking: {options.loose and 'yes' or 'no'}
  liberal-tcp-tracking: {options.liberal and 'yes' or 'no'}{model.timeouts()}
firewall:{RULES}"""


class Gateway:
    """Runs the binary on captures and reads what it wrote."""

    def __init__(self, binary, folder):
        self.binary = binary
        self.folder = pathlib.Path(folder)
        self.translations = model.Translations()

    def replay(self, text, inputs):
        """Runs `turnpike replay`: inputs are lists of (time in ns, IP packet) by interface."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "turnpike.yaml").write_text(text, encoding="utf-8")
        command = [self.binary, "replay", "--config", self.folder / "turnpike.yaml",
                   "--out-dir", self.folder / "out"]
        for name, packets in inputs.items():
            write_pcap(self.folder / f"{name}.pcap", packets)
            command += ["--in", f"{name}={self.folder / name}.pcap"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"turnpike replay: {done.stderr.strip()}")

    def verdicts(self):
        """The verdict lines, by interface and number; of a held packet the last one."""
        found = {}
        with open(self.folder / "out/verdicts.jsonl", encoding="utf-8") as lines:
            for line in lines:
                verdict = json.loads(line)
                found[verdict["interface"], verdict["index"]] = verdict
        return found

    def sent(self, interface):
        """What left by an interface: packets by the time they were due to."""
        path = self.folder / f"out/{interface}.pcap"
        found = {}
        for time, frame in read_pcap(path) if path.exists() else ():
            if frame[12:14] in (b"\x08\0", b"\x86\xdd"):
                found.setdefault(time, []).append(frame[14:])
        return found

    def feed(self, steps, options):
        """Runs all steps; what came out of one teaches how to address later ones, so it runs
        until nothing new is learned."""
        translations = self.translations = model.Translations()
        while True:
            fed = [translations.carry(step.packet, when)
                   if step.side == OUTSIDE and step.carry else step.packet
                   for when, step in enumerate(steps)]
            times = clock(steps)
            inputs = {side: [(time, packet) for step, time, packet in zip(steps, times, fed)
                             if step.side == side] for side in (INSIDE, OUTSIDE)}
            self.replay(config(options), inputs)
            results = self.results(steps, times, fed)
            known = len(translations.known)
            for when, (step, result) in enumerate(zip(steps, results)):
                for _, out in result.out:
                    if step.side == INSIDE and result.state == "new":
                        translations.learn(result.fed, out, when)
            if len(translations.known) == known:
                return results

    def results(self, steps, times, fed):
        """What became of each step."""
        verdicts = self.verdicts()
        sent = {side: self.sent(side) for side in (INSIDE, OUTSIDE)}
        numbers, results = {INSIDE: 0, OUTSIDE: 0}, []
        for step, time, packet in zip(steps, times, fed):
            numbers[step.side] += 1
            verdict = verdicts[step.side, numbers[step.side]]
            out = [(side, frame) for side in (model.OTHER_SIDE[step.side], step.side)
                   for frame in sent[side].get(time, ())]
            words = verdict["verdict"] + (f" ({verdict['reason']})" if verdict["reason"] else "")
            result = model.Result(verdict["connection-state"], out, packet, words)
            results.append(result)
        return results

    def entries(self):
        """The connections at the end, by original tuple."""
        found = {}
        with open(self.folder / "out/connections.json", encoding="utf-8") as text:
            for entry in json.load(text):
                key = (entry["protocol"], entry["src-address"], entry["src-port"],
                       entry["dst-address"], entry["dst-port"])
                flags = entry["flags"]
                state = entry["state"] if entry["protocol"] in (pk.TCP, pk.SCTP) else None
                found[key] = model.Entry(
                    state, model.timeout_class(entry["timeout-ms"] / 1000),
                    "A" in flags, "S" in flags, (entry["orig-packets"], entry["repl-packets"]),
                    (entry["orig-bytes"], entry["repl-bytes"]))
        return found


def clock(steps):
    """When each step is due, in nanoseconds."""
    times, now, phase = [], 1_000_000_000, 0
    for step in steps:
        now += model.STEP_NS + (model.PAUSE_NS if step.phase != phase else 0)
        phase = step.phase
        times.append(now)
    return times


def write_pcap(path, packets):
    """Writes IP packets as frames; the replay gives them the addresses they need."""
    with open(path, "wb") as out:
        out.write(PCAP_HEADER)
        for time, packet in packets:
            kind = b"\x08\0" if pk.version(packet) == 4 else b"\x86\xdd"
            frame = MAC + MAC + kind + packet
            out.write(struct.pack("<IIII", time // 10**9, time % 10**9, len(frame), len(frame)))
            out.write(frame)


def read_pcap(path):
    """The (time in ns, frame) of a capture that Turnpike wrote."""
    data = path.read_bytes()
    order, unit = capture.byte_order(data)
    at = 24
    while at + 16 <= len(data):
        seconds, part, size, _ = struct.unpack(order + "IIII", data[at:at + 16])
        yield seconds * 10**9 + part * unit, data[at + 16:at + 16 + size]
        at += 16 + size

