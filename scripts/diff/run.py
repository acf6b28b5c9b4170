"""Runs scenarios through the kernel and through Turnpike, and reports where they part."""

import argparse
import collections
import fnmatch
import sys
import time

import compare
import expected
import kernel
import model
import packet as pk
import scenarios
import turnpike

SHOWN_MAX = 20


def arguments():
    """What `scripts/diff-kernel` passes on."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--router", required=True)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--only", default="*")
    parser.add_argument("--shown", type=int, default=SHOWN_MAX)
    return parser.parse_args()


def in_phases(items):
    """All steps in the order they are taken: each phase of all scenarios before the next."""
    phases = sorted({step.phase for item in items for step in item.steps})
    return [(item, step) for phase in phases for item in items for step in item.steps
            if step.phase == phase]


def through_kernel(router, options, ordered):
    """What the kernel made of each step."""
    router.load()
    router.set(options)
    router.translations = model.Translations()
    results, phase = [], 0
    for _, step in ordered:
        if step.phase != phase:
            phase = step.phase
            time.sleep(model.PAUSE_NS / 1e9)
        results.append(router.feed(step))
    return results


def by_scenario(ordered, results):
    """The results of each scenario, by name."""
    found = collections.defaultdict(list)
    for (item, _), result in zip(ordered, results):
        found[item.name].append(result)
    return found


def ends(item):
    """The connections that a scenario could have opened: the tuple of each of its packets."""
    keys = []
    for step in item.steps:
        seen = pk.read(step.packet)
        key = (seen.protocol, seen.source, seen.ports[0], seen.target, seen.ports[1])
        if key not in keys:
            keys.append(key)
    return keys


def run_group(options, items, router, gateway):
    """The findings and the differing entries of the scenarios that share switches."""
    ordered = in_phases(items)
    kernel_results = through_kernel(router, options, ordered)
    kernel_entries = router.entries()
    ours = gateway.feed([step for _, step in ordered], options)
    theirs_by, ours_by = by_scenario(ordered, kernel_results), by_scenario(ordered, ours)
    both = (router.translations, gateway.translations)
    findings = [compare.scenario(item, theirs_by[item.name], ours_by[item.name], both)
                for item in items]
    agreed = [item for item, finding in zip(items, findings) if not finding]
    entries = compare.entries(agreed, kernel_entries, gateway.entries(), ends)
    return [f for f in findings if f], entries


def tell(finding, seed):
    """Everything about one difference that helps to find its cause."""
    item = finding.scenario
    print(f"\n--- {item.name} ({item.options.words()}): step {finding.step + 1}: {finding.note}")
    for number, step in enumerate(item.steps[:finding.step + 1]):
        print(f"  {number + 1:3} {step.side}  {pk.words(step.packet)}")
    for name, result in (("kernel", finding.kernel), ("turnpike", finding.ours)):
        out = "; ".join(f"{side} {pk.words(p)}" for side, p in result.out) or "nothing"
        print(f"  {name:8} state {result.state} {result.verdict} out: {out}")
    print(f"  again: scripts/diff-kernel --seed {seed} --only '{item.name}'")


def tell_entry(found, seed):
    """One connection that the two keep differently."""
    item, key, theirs, mine = found
    print(f"\n--- {item.name} ({item.options.words()}): the connection {key} at the end")
    for number, step in enumerate(item.steps):
        print(f"  {number + 1:3} {step.side}  {pk.words(step.packet)}")
    print(f"  kernel   {theirs.words() if theirs else 'none'}")
    print(f"  turnpike {mine.words() if mine else 'none'}")
    print(f"  again: scripts/diff-kernel --seed {seed} --only '{item.name}'")


def main():
    """Groups the scenarios by switches, runs each group and counts."""
    args = arguments()
    items = [item for item in scenarios.every(args.seed, args.count)
             if fnmatch.fnmatch(item.name, args.only)]
    if len({item.name for item in items}) < len(items):
        raise SystemExit("two scenarios have one name")
    if not items:
        raise SystemExit(f"no scenario is called {args.only}")
    router, gateway = kernel.Router(args.router), turnpike.Gateway(args.binary, args.folder)
    groups = collections.defaultdict(list)
    for item in items:
        groups[item.options].append(item)
    findings, entries = [], []
    for options, group in groups.items():
        found, differing = run_group(options, group, router, gateway)
        findings += found
        entries += differing
    return report(args, items, findings, entries)


def report(args, items, findings, entries):
    """Says what was compared and where the two part; the exit code."""
    meant = [f for f in findings if f.reason]
    unmeant = [f for f in findings if not f.reason]
    for finding in unmeant[:args.shown]:
        tell(finding, args.seed)
    for found in entries[:args.shown]:
        tell_entry(found, args.seed)
    packets = sum(len(item.steps) for item in items)
    print(f"\n{len(items)} scenarios, {packets} packets, seed {args.seed}: "
          f"{len(items) - len(findings) - len({e[0].name for e in entries})} agree, "
          f"{len(meant)} differ on purpose, {len(unmeant)} differ in a verdict, "
          f"{len(entries)} in a connection's state")
    absent = [d.name for d in expected.DIFFERENCES if not d.seen and args.only == "*"]
    for difference in expected.DIFFERENCES:
        if difference.seen:
            print(f"  on purpose: {difference.seen:4} × {difference.name}")
    for name in absent:
        print(f"expected difference '{name}' did not occur: take it off the list")
    return 1 if unmeant or entries or absent else 0


if __name__ == "__main__":
    sys.exit(main())
