#!/usr/bin/env python3
"""Processor time per call without records, with them in the journal, with what recovers calls, and with PostgreSQL behind, in turns; the
box's own time, and that of PostgreSQL, which runs on the generators' core.

usage: records.py DRAWBRIDGE [RATE] [SECONDS] [ROUNDS]
"""

import contextlib
import os
import pathlib
import pwd
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

import peers

PORT = 5433


def programs():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise SystemExit("the Debian package postgresql is needed for this")
    return found[-1].parent


def as_postgres(command):
    """The server does not run as root."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *command] if os.getuid() == 0 else command


@contextlib.contextmanager
def postgres(folder):
    home = folder / "postgres"
    home.mkdir()
    folder.chmod(0o755)
    if os.getuid() == 0:
        os.chown(home, pwd.getpwnam("postgres").pw_uid, -1)
    data = home / "data"
    subprocess.run(as_postgres([programs() / "initdb", "-U", "drawbridge", "-A", "trust", "-E", "UTF8", "-D", data]), check=True,
                   stdout=subprocess.DEVNULL, cwd=home)
    server = peers.on_core(peers.LOAD_CORE, as_postgres(
        [programs() / "postgres", "-D", data, "-k", home, "-p", PORT, "-c", "listen_addresses=127.0.0.1"]))

    def answers():
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", PORT)) == 0

    with peers.running(server, folder, "postgres", answers) as process:
        time.sleep(1)
        yield process


def behind():
    """Records that PostgreSQL does not have yet."""
    with urllib.request.urlopen(f"http://{peers.API}:8080/metrics", timeout=5) as answer:
        lines = dict(line.rsplit(" ", 1) for line in answer.read().decode().splitlines() if not line.startswith("#"))
    return int(lines["drawbridge_cdr_pending"]) + int(lines.get("drawbridge_postgres_behind", 0))


# What each has beyond the one before it: nothing kept of calls, their records in the journal, what a call goes on with after a
# crash, and PostgreSQL behind the journal.
CONTENDERS = ["off", "journal", "recovery", "postgres"]


def configure(file, contender):
    text = file.read_text()
    if contender in ("off", "journal"):
        text = text.replace("[node]\n", "[node]\nrecover_calls = false\n")
    if contender == "off":
        text += "[cdr]\nenabled = false\n"
    if contender == "postgres":
        text += f'[cdr]\npostgres = "postgres://drawbridge@127.0.0.1:{PORT}/postgres"\n'
    file.write_text(text)


def measure(binary, contender, rate, seconds):
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(peers.workplace())
        server = stack.enter_context(postgres(folder)) if contender == "postgres" else None
        command = peers.box_command(binary, folder, "userspace")
        configure(folder / "drawbridge.toml", contender)
        box = stack.enter_context(peers.running(command, folder, "drawbridge", peers.healthy))
        peers.calls(folder, rate, rate, 500)  # warm up, one second
        pids = [box.pid]
        before, served = peers.cpu_seconds(pids), peers.cpu_seconds(peers.family(server.pid)) if server else 0
        outcome, _ = peers.calls(folder, rate * seconds, rate, 500)
        end = time.monotonic() + 60
        while behind() > 0 and time.monotonic() < end:
            time.sleep(0.1)
        calls = max(1, outcome["successful"])
        own = (peers.cpu_seconds(pids) - before) * 1000 / calls
        theirs = (peers.cpu_seconds(peers.family(server.pid)) - served) * 1000 / calls if server else 0
        return own, theirs, outcome, behind()


def main():
    binary = sys.argv[1]
    rate, seconds, rounds = [int(given) for given in (sys.argv[2:] + ["500", "20", "3"][len(sys.argv) - 2:])]
    results = {name: [] for name in CONTENDERS}
    for turn in range(rounds):
        for name in CONTENDERS[::1 if turn % 2 == 0 else -1]:
            own, theirs, outcome, left = measure(binary, name, rate, seconds)
            results[name].append(own)
            print(f"round {turn + 1}  {name:9} {own:.3f} ms per call at {rate}/s, PostgreSQL {theirs:.3f} ms, {left} left  {outcome}",
                  flush=True)
    median = {name: statistics.median(values) for name, values in results.items()}
    for before, name in zip(CONTENDERS, CONTENDERS[1:]):
        ratios = [one / other for one, other in zip(results[name], results[before])]
        print(f"{name} to {before}: {median[name]:.3f} to {median[before]:.3f} ms; ratio by rounds "
              f"{' '.join(f'{ratio:.2f}' for ratio in ratios)}, median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    main()
