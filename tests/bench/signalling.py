#!/usr/bin/env python3
"""Processor time per call: the box (CDRs on, media ports reserved) and Kamailio as a stateful proxy, in turns.

usage: signalling.py DRAWBRIDGE [RATE] [SECONDS] [ROUNDS]
"""

import statistics
import sys

import peers


def measure(start, rate, seconds):
    with peers.workplace() as folder, start(folder) as pids:
        peers.calls(folder, rate, rate, 500)  # warm up, one second
        before = peers.cpu_seconds(pids)
        outcome, _ = peers.calls(folder, rate * seconds, rate, 500)
        return (peers.cpu_seconds(pids) - before) * 1000 / max(1, outcome["successful"]), outcome


def main():
    binary = sys.argv[1]
    rate, seconds, rounds = [int(given) for given in (sys.argv[2:] + ["500", "20", "3"][len(sys.argv) - 2:])]
    contenders = {"drawbridge": lambda folder: peers.box(binary, folder), "kamailio": peers.kamailio}
    results = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, start in contenders.items():
            milliseconds, outcome = measure(start, rate, seconds)
            results[name].append(milliseconds)
            print(f"round {turn + 1}  {name:11} {milliseconds:.3f} ms per call at {rate}/s  {outcome}", flush=True)
    median = {name: statistics.median(values) for name, values in results.items()}
    ratio = median["drawbridge"] / median["kamailio"]
    print(f"medians: drawbridge {median['drawbridge']:.3f}, kamailio {median['kamailio']:.3f} ms; ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
