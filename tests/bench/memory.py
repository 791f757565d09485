#!/usr/bin/env python3
"""Memory of a call that is held: without media, and with RTPLOAD the same with packets of media both ways.

What sockets take is the system's and not in it; a port for RTCP is opened when media flows.

usage: memory.py DRAWBRIDGE [CALLS] [RTPLOAD] [ENGINE]
"""

import pathlib
import subprocess
import sys
import time

import peers


def without_media(binary, count, rate=250):
    up = count / rate
    with peers.workplace() as folder, peers.box(binary, folder) as pids:
        peers.calls(folder, 200, rate, 200)  # what is allocated once is not a call's
        before = peers.resident_kb(pids)

        def look():
            time.sleep(up + 3)
            return peers.resident_kb(pids)

        outcome, held = peers.calls(folder, count, rate, int((up + 8) * 1000), look)
        print(f"{before} kB before, {held} kB with {count} calls held: {(held - before) / count:.2f} kB per call  {outcome}",
              flush=True)
        return (held - before) / count


def with_media(binary, program, count, engine, pps=2):
    """Few packets a second are enough for each stream to be heard, timed and, in the kernel, settled."""
    with peers.workplace() as folder, peers.box(binary, folder, engine) as pids:
        peers.calls(folder, 200, 250, 200)
        before = peers.resident_kb(pids)
        seconds = 30
        command = peers.on_core(peers.LOAD_CORE, [pathlib.Path(program).resolve(), "--calls", count, "--seconds", seconds,
                                                  "--pps", pps, "--tick", 1000])
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as load:
            time.sleep(count / 200 + 1 + seconds - 5)
            held = peers.resident_kb(pids)
            heard = load.communicate(timeout=180)[0]
        print(f"{before} kB before, {held} kB with {count} calls that talk ({engine}): {(held - before) / count:.2f} kB per call  "
              f"{heard.strip()}", flush=True)
        return (held - before) / count


def main():
    binary, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 5000
    silent = without_media(binary, count)
    if len(sys.argv) > 3:
        engine = sys.argv[4] if len(sys.argv) > 4 else "userspace"
        talking = with_media(binary, sys.argv[3], count, engine)
        print(f"media takes {talking - silent:.2f} kB per call")


if __name__ == "__main__":
    main()
