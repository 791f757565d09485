#!/usr/bin/env python3
"""Added post-dial delay: INVITE to 180 through the box less the same without it, and through Kamailio for comparison.

usage: delay.py DRAWBRIDGE CALLPROBE [RATE] [ROUNDS]
"""

import json
import pathlib
import subprocess
import sys

import peers


def probe(program, rate, *through):
    command = peers.on_core(peers.LOAD_CORE, [pathlib.Path(program).resolve(), "--rate", rate, "--calls", rate * 10,
                                              *through])
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if answer.returncode != 0:
        raise SystemExit(answer.stderr)
    return json.loads(answer.stdout)


def main():
    binary, program = sys.argv[1:3]
    rate = int(sys.argv[3]) if len(sys.argv) > 3 else 200
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    contenders = {"drawbridge": lambda folder: peers.box(binary, folder), "kamailio": peers.kamailio}
    for turn in range(rounds):
        direct = probe(program, rate)
        print(f"round {turn + 1}  direct      {direct}", flush=True)
        for name, start in contenders.items():
            with peers.workplace() as folder, start(folder):
                through = probe(program, rate, "--next-hop", f"{peers.PEER}:5060")
            added = {key: through[f"wait_us_{key}"] - direct[f"wait_us_{key}"] for key in ("p50", "p99")}
            print(f"round {turn + 1}  {name:11} adds {added['p50']} us (median), {added['p99']} us (p99)  {through}",
                  flush=True)


if __name__ == "__main__":
    main()
