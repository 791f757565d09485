#!/usr/bin/env python3
"""Two-way calls of 50 packets a second each way: loss, delay and processor time per relayed packet of the box and of
rtpengine in userspace, in turns.

usage: media.py DRAWBRIDGE RTPLOAD [CALLS] [SECONDS] [ROUNDS]
"""

import json
import pathlib
import statistics
import subprocess
import sys

import peers


def load(program, calls, seconds, *through):
    command = peers.on_core(peers.LOAD_CORE, [pathlib.Path(program).resolve(), "--calls", calls, "--seconds", seconds,
                                              *through])
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120 + seconds)
    if answer.returncode != 0:
        raise SystemExit(answer.stderr)
    return json.loads(answer.stdout)


def main():
    binary, program = sys.argv[1:3]
    calls, seconds, rounds = [int(given) for given in (sys.argv[3:] + ["1000", "10", "3"][len(sys.argv) - 3:])]
    contenders = {
        "drawbridge": (lambda folder: peers.box(binary, folder), ("sip", f"{peers.PEER}:5060")),
        "rtpengine": (peers.rtpengine, ("ng", f"{peers.PEER}:2223")),
    }
    results = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, (start, (through, relay)) in contenders.items():
            with peers.workplace() as folder, start(folder) as pids:
                result = load(program, calls, seconds, "--through", through, "--relay", relay,
                              "--pids", ",".join(map(str, pids)))
            results[name].append(result["relay_us_per_packet"])
            print(f"round {turn + 1}  {name:11} {json.dumps(result)}", flush=True)
    median = {name: statistics.median(values) for name, values in results.items()}
    ratio = median["drawbridge"] / median["rtpengine"]
    print(f"medians: drawbridge {median['drawbridge']:.2f}, rtpengine {median['rtpengine']:.2f} us per packet; "
          f"ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
