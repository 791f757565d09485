#!/usr/bin/env python3
"""What relaying adds to a packet on its way between network namespaces: the box with its engine in the kernel and with the
one in userspace, and rtpengine in userspace, in turns; before each, the direct way.

Phones are in one namespace and what is measured in another, joined by a veth pair, which each packet passes twice. The direct
way has two veth pairs as well: the relay's namespace forwards, as a router, to a third one.
What a packet costs is the time of the scheduler's counters for generator, relay and the kernel's own network threads together,
since the program in the kernel runs in the time of whoever sends. As root.

usage: kernel.py DRAWBRIDGE RTPLOAD [CALLS] [SECONDS] [ROUNDS]
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys

PHONES, RELAY, FAR = "dbench-phones", "dbench-relay", "dbench-far"
ADDRESSES = "10.78.1.1 10.78.1.2 10.78.1.3"
ROUTER, AWAY = "10.78.3.1", "10.78.3.2"


def ip(*order):
    subprocess.run(["ip", *order], check=True)


def place():
    """Three namespaces: phones, relay, and one behind that at the end of the direct way."""
    for name in (PHONES, RELAY, FAR):
        subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL, check=False)
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
    relay, caller, callee = ADDRESSES.split()
    for (one, first, its), (two, second, theirs) in [
        ((PHONES, "phones", (caller, callee)), (RELAY, "relay", (relay,))),
        ((RELAY, "router", (ROUTER,)), (FAR, "far", (AWAY,))),
    ]:
        ip("-n", one, "link", "add", first, "type", "veth", "peer", "name", second, "netns", two)
        for name, device, addresses in ((one, first, its), (two, second, theirs)):
            for address in addresses:
                ip("-n", name, "address", "add", f"{address}/24", "dev", device)
            ip("-n", name, "link", "set", device, "up")
    ip("-n", PHONES, "route", "add", "default", "via", relay)
    ip("-n", FAR, "route", "add", "default", "via", ROUTER)
    ip("netns", "exec", RELAY, "sysctl", "-qw", "net.ipv4.ip_forward=1")


def load(program, calls, seconds, *through):
    import peers

    command = peers.on_core(peers.LOAD_CORE, [pathlib.Path(program).resolve(), "--calls", calls, "--seconds", seconds,
                                              "--caller-net", PHONES, "--tick", 1000, *through])
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120 + seconds)
    if answer.returncode != 0:
        raise SystemExit(answer.stderr)
    return json.loads(answer.stdout)


def measure():
    import peers

    binary, program = sys.argv[1:3]
    calls, seconds, rounds = [int(given) for given in (sys.argv[3:] + ["2000", "5", "3"][len(sys.argv) - 3:])]
    at = ("--caller", peers.CALLER, "--callee", peers.CALLEE, "--callee-net", PHONES)
    through = {"sip": ("--through", "sip", "--relay", f"{peers.PEER}:5060", *at),
               "ng": ("--through", "ng", "--relay", f"{peers.PEER}:2223", *at)}
    contenders = {
        "ebpf": (lambda folder: peers.box(binary, folder, "ebpf"), "sip"),
        "userspace": (lambda folder: peers.box(binary, folder, "userspace"), "sip"),
        "rtpengine": (peers.rtpengine, "ng"),
    }
    added = {name: [] for name in contenders}
    for turn in range(rounds):
        for name, (start, way) in contenders.items():
            direct = load(program, calls, seconds, "--through", "nothing", "--caller", peers.CALLER, "--callee", AWAY,
                          "--callee-net", FAR)
            with peers.workplace() as folder, start(folder) as pids:
                result = load(program, calls, seconds, *through[way], "--pids", ",".join(map(str, pids)))
            added[name].append(result["all_us_per_packet"] - direct["all_us_per_packet"])
            late = [result[key] - direct[key] for key in ("delay_us_p50", "delay_us_p99")]
            print(f"round {turn + 1}  {name:9} adds {added[name][-1]:.2f} us of processor, {late[0]:.0f} us of delay "
                  f"(p99 {late[1]:.0f}); lost {result['lost']}, directly {direct['lost']}\n  {json.dumps(result)}\n"
                  f"  directly {json.dumps(direct)}", flush=True)
    median = {name: statistics.median(values) for name, values in added.items()}
    print("medians: " + ", ".join(f"{name} {value:.2f} us" for name, value in median.items())
          + f"; ratio of ebpf to rtpengine {median['ebpf'] / median['rtpengine']:.2f}")


def main():
    if os.environ.get("ADDRESSES") == ADDRESSES:
        measure()
        return
    try:
        place()
        inside = subprocess.run(["ip", "netns", "exec", RELAY, sys.executable, *sys.argv],
                                env={**os.environ, "ADDRESSES": ADDRESSES}, check=False)
    finally:
        for name in (PHONES, RELAY, FAR):
            subprocess.run(["ip", "netns", "delete", name], check=False)
    raise SystemExit(inside.returncode)


if __name__ == "__main__":
    main()
