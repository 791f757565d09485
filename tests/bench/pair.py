#!/usr/bin/env python3
"""Two builds of the box relay the same calls in short turns, A B B A: processor time per relayed packet and its ratio.

A machine that others use as well slows both alike within a turn, so the ratio of neighbours says what medians of long
runs would not. Every box is pinned to one core and the generator to another, as in media.py.

usage: pair.py OLD_DRAWBRIDGE NEW_DRAWBRIDGE RTPLOAD [CALLS] [SECONDS] [ROUNDS]
"""

import json
import statistics
import sys

import media
import peers


def main():
    old, new, program = sys.argv[1:4]
    calls, seconds, rounds = [int(given) for given in (sys.argv[4:] + ["1000", "5", "4"][len(sys.argv) - 4:])]
    builds = {"old": old, "new": new}
    results = {name: [] for name in builds}
    for turn in range(rounds):
        for name in list(builds)[::1 if turn % 2 == 0 else -1]:
            with peers.workplace() as folder, peers.box(builds[name], folder) as pids:
                result = media.load(program, calls, seconds, "--through", "sip", "--relay", f"{peers.PEER}:5060",
                                    "--pids", ",".join(map(str, pids)))
            results[name].append(result["relay_us_per_packet"])
            print(f"round {turn + 1}  {name} {json.dumps(result)}", flush=True)
    ratios = [one / other for one, other in zip(results["new"], results["old"])]
    median = {name: statistics.median(values) for name, values in results.items()}
    print(f"medians: old {median['old']:.2f}, new {median['new']:.2f} us per packet; "
          f"ratio by rounds {' '.join(f'{ratio:.2f}' for ratio in ratios)}, median {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
