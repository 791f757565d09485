#!/usr/bin/env python3
"""What the two who talk hear of it when the box between them is killed and started again, with media.survive_restart and
without: the longest gap of each direction, and what became of the calls.

In a network and a mount namespace of its own. As root, Linux 6.6.

usage: survive.py DRAWBRIDGE RTPLOAD [CALLS] [SECONDS]
"""

import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

import peers


def outcome(binary, program, calls, seconds, survive):
    with peers.workplace() as folder:
        command = peers.box_command(binary, folder, "ebpf", f"survive_restart = {str(survive).lower()}")
        load = peers.on_core(peers.LOAD_CORE, [pathlib.Path(program).resolve(), "--calls", calls, "--seconds", seconds,
                                               "--through", "sip", "--relay", f"{peers.PEER}:5060", "--caller", peers.CALLER,
                                               "--callee", peers.CALLEE])
        with peers.running(command, folder, "drawbridge", peers.healthy) as box:
            with subprocess.Popen(load, stdout=subprocess.PIPE, text=True) as talk:
                # The calls come in at 200 a second; then a second passes before the gaps count.
                time.sleep(calls / 200 + 1 + seconds / 2)
                box.kill()
                box.wait()
                killed = time.monotonic()
                with peers.running(command, folder, "again", peers.healthy):
                    away = time.monotonic() - killed
                    heard = json.loads(talk.communicate(timeout=60 + seconds)[0])
                    time.sleep(1)
                    return away, heard, records()


def records():
    """How many calls have a record, and of how many one says that they were recovered and ended by the caller."""
    rows, at = [], ""
    while True:
        with urllib.request.urlopen(f"http://{peers.API}:8080/v1/cdrs?limit=500{at}") as answer:
            page = json.load(answer)
        rows += page["cdrs"]
        if not page.get("next_cursor"):
            break
        at = f"&cursor={page['next_cursor']}"
    good = [row for row in rows if (row["recovered"], row["ended_by"]) == (1, "caller")]
    return {"rows": len(rows), "calls": len({row["call_id"] for row in rows}), "recovered_and_ended_by_caller": len(good)}


def main():
    if os.environ.get("ALONE") != "yes":
        script = 'ip link set lo up && mount -t bpf bpf /sys/fs/bpf && exec "$@"'
        command = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", sys.executable, *sys.argv]
        raise SystemExit(subprocess.run(command, env={**os.environ, "ALONE": "yes"}, check=False).returncode)
    binary, program = sys.argv[1:3]
    calls, seconds = [int(given) for given in (sys.argv[3:] + ["500", "10"][len(sys.argv) - 3:])]
    for survive in (True, False):
        away, heard, rows = outcome(binary, program, calls, seconds, survive)
        print(f"survive_restart = {str(survive).lower():5}  ready again {away * 1000:.0f} ms after the kill; longest gap of a direction "
              f"{heard['gap_ms_max']} ms (median {heard['gap_ms_p50']}, p99 {heard['gap_ms_p99']}); lost {heard['lost']} of "
              f"{heard['sent']}; BYEs answered {heard['byes_answered']}, heard by the other side {heard['byes_heard']}, of "
              f"{heard['calls']}; {json.dumps(rows)}", flush=True)


if __name__ == "__main__":
    main()
