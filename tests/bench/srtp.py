#!/usr/bin/env python3
"""What encrypting costs a relayed packet, by suite: processor time through sockets with SRTP on one side, beside plain on both.

The generator knows no SRTP. So its calls pass two boxes, one behind the other on the same core: what the first encrypts the
second decrypts, and both ends are plain. A packet is relayed twice, once sealed and once opened, and the figures are those of
one relaying: half of what both boxes take. Between the two stands a proxy that spoils the names of the suites that are not to
be chosen. Where `perf` is installed it says which share of the boxes' time the cipher and the tag have.

usage: srtp.py DRAWBRIDGE RTPLOAD [CALLS] [SECONDS] [ROUNDS]
"""

import contextlib
import json
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
import urllib.request

import media
import peers

# The generator takes the port of its media from a description and the address from the command line: both boxes have the same.
FIRST, SECOND, PROXY = (peers.PEER, 5060), (peers.PEER, 5070), ("127.0.5.5", 5060)
SUITES = ["AEAD_AES_256_GCM", "AEAD_AES_128_GCM", "AES_CM_128_HMAC_SHA1_80", "AES_CM_128_HMAC_SHA1_32"]
# None is plain RTP, the others what the two boxes agree upon.
CONTENDERS = {"plain": None, "cm-80": SUITES[2], "gcm-128": SUITES[1], "gcm-256": SUITES[0]}
# What of a profile is encryption: the names of the libraries' functions and those of the relay's own.
CIPHER = re.compile(r"aes|ghash|gcm|sha1|ctr|srtp", re.IGNORECASE)

CONFIGURATION = """
[node]
name = "{name}"
data_dir = "{folder}/{name}"
workers = 1

[[listener]]
name = "udp"
transport = "udp"
bind = "{host}:{port}"

[media]
address = "{host}"
ports = "{media}"
engine = "userspace"
rate = 0

[api]
bind = "{host}:{api}"

[[trunk]]
name = "from"
sources = {sources}
media_security = "{before}"

[[trunk]]
name = "to"
sources = ["{next}"]
peers = ["sip:{next}"]
media_security = "{after}"

[[route]]
name = "all"
from = ["from"]
to = ["to"]
"""


def written(address):
    return "%s:%d" % address


@contextlib.contextmanager
def box(binary, folder, name, at, **more):
    host, port = at
    api = port + 3000
    file = folder / f"{name}.toml"
    file.write_text(CONFIGURATION.format(name=name, folder=folder, host=host, port=port, api=api, **more))
    command = peers.on_core(peers.PEER_CORE, [pathlib.Path(binary).resolve(), "run", "--config", file])

    def healthy():
        try:
            with urllib.request.urlopen(f"http://{host}:{api}/health", timeout=1) as answer:
                return answer.status == 200
        except OSError:
            return False

    with peers.running(command, folder, name, healthy) as process:
        yield process.pid


@contextlib.contextmanager
def proxy(suite):
    """Passes what the first box says on to the second and back, with every other suite spoilt. Names keep their length, so that
    nothing else has to be changed."""
    spoilt = [name.encode() for name in SUITES if name != suite]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as between:
        between.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        between.bind(PROXY)
        between.settimeout(0.2)
        over = threading.Event()

        def run():
            while not over.is_set():
                try:
                    message, source = between.recvfrom(65535)
                except OSError:
                    continue
                for name in spoilt:
                    message = message.replace(b" " + name + b" ", b" " + b"X" * len(name) + b" ")
                between.sendto(message, SECOND if source == FIRST else FIRST)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


@contextlib.contextmanager
def chain(binary, folder, suite):
    """Both boxes; plain between them, or with this suite."""
    between = "sdes" if suite else "none"
    first = {"sources": json.dumps([peers.CALLER]), "next": written(PROXY), "before": "none", "after": between,
             "media": "10000-37499"}
    # Requests within a call come from the first box itself.
    second = {"sources": json.dumps([written(PROXY), written(FIRST)]), "next": f"{peers.CALLEE}:5060", "before": between,
              "after": "none", "media": "37500-65000"}
    with proxy(suite), box(binary, folder, "second", SECOND, **second) as behind, \
            box(binary, folder, "first", FIRST, **first) as before:
        yield [before, behind]


def profile(folder, pids, after, seconds):
    """Has `perf` look while packets flow; the process, or nothing where there is none."""
    if shutil.which("perf") is None:
        return None
    record = ["perf", "record", "-q", "-e", "cpu-clock", "-F", "997", "-o", folder / "perf.data", "-p", ",".join(map(str, pids)),
              "--", "sleep", seconds]
    return subprocess.Popen(["sh", "-c", 'sleep "$0"; exec "$@"', str(after), *map(str, record)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def share(folder, process):
    """The share of encryption in the samples, and the functions that have most of it."""
    if process is None or process.wait(60) != 0:
        return None, []
    report = ["perf", "report", "-q", "-i", str(folder / "perf.data"), "--stdio", "--no-children", "--sort", "symbol"]
    lines = subprocess.run(report, capture_output=True, text=True, check=True).stdout.splitlines()
    # `  4.08%  [.] name  -  -`; the kernel's functions, which have a k there, have nothing to do with it.
    samples = (re.match(r"\s*([\d.]+)%\s+\[\.\]\s+(.*?)[\s-]*$", line) for line in lines)
    found = [(float(sample[1]), sample[2]) for sample in samples if sample and CIPHER.search(sample[2])]
    return sum(percent for percent, _ in found), [f"{percent:.1f} {name}" for percent, name in found[:6]]


def main():
    binary, program = sys.argv[1:3]
    calls, seconds, rounds = [int(given) for given in (sys.argv[3:] + ["400", "10", "3"][len(sys.argv) - 3:])]
    costs, shares = {name: [] for name in CONTENDERS}, {name: [] for name in CONTENDERS}
    for turn in range(rounds):
        for name, suite in CONTENDERS.items():
            with peers.workplace() as folder, chain(binary, folder, suite) as pids:
                # The calls are there after so long, and a second later packets count.
                looking = profile(folder, pids, calls / 200 + 2, max(1, seconds - 2))
                result = media.load(program, calls, seconds, "--through", "sip", "--relay", written(FIRST),
                                    "--pids", ",".join(map(str, pids)))
                percent, functions = share(folder, looking)
            costs[name].append(result["relay_us_per_packet"] / 2)
            shares[name].append(percent)
            print(f"round {turn + 1}  {name:8} {costs[name][-1]:.2f} us a relaying  {json.dumps(result)}", flush=True)
            if percent is not None:
                print(f"  of it encryption {percent:.1f} %: {'; '.join(functions)}", flush=True)
    plain = costs["plain"]
    for name in CONTENDERS:
        cost = statistics.median(costs[name])
        added = statistics.median(one - without for one, without in zip(costs[name], plain))
        ratio = statistics.median(one / without for one, without in zip(costs[name], plain))
        line = f"median  {name:8} {cost:.2f} us a relaying; {1000 * added:+.0f} ns beside plain, ratio {ratio:.2f}"
        seen = [percent for percent in shares[name] if percent is not None]
        if seen:
            percent = statistics.median(seen)
            line += f"; encryption {percent:.1f} %, {10 * percent * cost:.0f} ns"
        print(line)


if __name__ == "__main__":
    main()
