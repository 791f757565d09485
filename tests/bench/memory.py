#!/usr/bin/env python3
"""Memory of a call that is held and has no media flowing.

usage: memory.py DRAWBRIDGE [CALLS]
"""

import sys
import time

import peers


def main():
    binary, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    rate = 250
    up = count / rate
    with peers.workplace() as folder, peers.box(binary, folder) as pids:
        peers.calls(folder, 200, rate, 200)  # what is allocated once is not a call's
        before = peers.resident_kb(pids)

        def look():
            time.sleep(up + 3)
            return peers.resident_kb(pids)

        outcome, held = peers.calls(folder, count, rate, int((up + 8) * 1000), look)
        print(f"{before} kB before, {held} kB with {count} calls held: {(held - before) / count:.2f} kB per call  {outcome}")


if __name__ == "__main__":
    main()
