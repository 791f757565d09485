"""The box and what it is compared with, each started on one core and ended by its process id; SIPp on another core.

Addresses: whatever is measured at 127.0.5.1, the caller at 127.0.5.2, the callee at 127.0.5.3, or as ADDRESSES has them. Linux, Python 3.9 or
newer, nothing but the standard library.
"""

import contextlib
import csv
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
SCENARIOS = HERE.parent / "interop" / "scenarios"
PEER, CALLER, CALLEE = os.environ.get("ADDRESSES", "127.0.5.1 127.0.5.2 127.0.5.3").split()
# Without tokens the API is for this machine only.
API = PEER if PEER.startswith("127.") else "127.0.0.1"
PEER_CORE, LOAD_CORE = os.environ.get("PEER_CORE", "0"), os.environ.get("LOAD_CORE", "1")
TICK = os.sysconf("SC_CLK_TCK")

BOX_CONFIGURATION = """
[node]
name = "bench"
data_dir = "{folder}/data"
workers = 1

[[listener]]
name = "udp"
transport = "udp"
bind = "{peer}:5060"

[media]
address = "{peer}"
ports = "10000-65000"
engine = "{engine}"
rate = 0
{media}

[api]
bind = "{api}:8080"

[[trunk]]
name = "caller"
sources = ["{caller}"]

[[trunk]]
name = "callee"
sources = ["{callee}"]
peers = ["sip:{callee}:5060"]

[[route]]
name = "all"
from = ["caller"]
to = ["callee"]
"""


def on_core(core, command):
    return ["taskset", "-c", core, *map(str, command)]


@contextlib.contextmanager
def running(command, folder, name, ready, limit=15.0):
    """A program that is up when `ready` says so, and gone afterwards."""
    with open(folder / f"{name}.log", "wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=folder)
    try:
        end = time.monotonic() + limit
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit(f"{name} did not come up")
            time.sleep(0.02)
        yield process
    except BaseException:
        print(f"--- the last that {name} said:\n{(folder / f'{name}.log').read_text(errors='replace')[-2000:]}")
        raise
    finally:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def healthy():
    try:
        with urllib.request.urlopen(f"http://{API}:8080/health", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def udp_bound(address, port):
    """Whether somebody has the port; read from the kernel, because trying to bind could take it away."""
    wanted = "%08X:%04X" % (int.from_bytes(socket.inet_aton(address), "little"), port)
    with open("/proc/net/udp") as table:
        return any(line.split()[1] == wanted for line in list(table)[1:])


def box_command(binary, folder, engine, media=""):
    """How the box is started, with its configuration in the folder."""
    file = folder / "drawbridge.toml"
    file.write_text(BOX_CONFIGURATION.format(folder=folder, peer=PEER, api=API, caller=CALLER, callee=CALLEE, engine=engine,
                                             media=media))
    return on_core(PEER_CORE, [pathlib.Path(binary).resolve(), "run", "--config", file])


@contextlib.contextmanager
def box(binary, folder, engine="userspace"):
    with running(box_command(binary, folder, engine), folder, "drawbridge", healthy) as process:
        yield [process.pid]


@contextlib.contextmanager
def kamailio(folder):
    command = on_core(PEER_CORE, ["kamailio", "-f", HERE / "kamailio.cfg", "-DD", "-E", "-m", "512", "-M", "16",
                                  "-Y", folder, "-P", folder / "kamailio.pid"])
    with running(command, folder, "kamailio", lambda: udp_bound(PEER, 5060)) as process:
        time.sleep(0.5)
        yield family(process.pid)


@contextlib.contextmanager
def rtpengine(folder):
    command = on_core(PEER_CORE, ["rtpengine", "--foreground", "--table=-1", f"--interface={PEER}",
                                  f"--listen-ng={PEER}:2223", "--port-min=10000", "--port-max=60000",
                                  "--num-threads=1", "--log-stderr", "--log-level=3"])
    with running(command, folder, "rtpengine", lambda: udp_bound(PEER, 2223)) as process:
        time.sleep(0.5)
        yield family(process.pid)


def family(root):
    """A process and all that descend from it."""
    children = {}
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [root]
    while waiting:
        found.append(waiting.pop())
        waiting += children.get(found[-1], [])
    return found


def cpu_seconds(pids):
    """User and system time of the processes with all their threads."""
    total = 0
    for pid in pids:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICK


def resident_kb(pids):
    """Resident memory; what processes share is split among them."""
    total = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total


def sipp(folder, scenario, address, extra):
    name = f"{scenario}-{address}"
    for old in folder.glob(f"{name}.csv"):
        old.unlink()
    return on_core(LOAD_CORE, ["sipp", "-sf", SCENARIOS / f"{scenario}.xml", "-i", address, "-p", "5060", "-nostdin",
                               "-buff_size", "4000000", "-l", "60000", "-default_behaviors", "none",
                               "-trace_stat", "-stf", folder / f"{name}.csv", "-fd", "1", *extra])


def statistics(folder, scenario, address):
    with open(folder / f"{scenario}-{address}.csv") as file:
        last = list(csv.DictReader(file, delimiter=";"))[-1]
    return {"successful": int(last["SuccessfulCall(C)"]), "failed": int(last["FailedCall(C)"]),
            "retransmitted": int(last["Retransmissions(C)"])}


def calls(folder, count, rate, hold_ms, while_held=None):
    """SIPp calls through whatever listens at PEER; returns what became of them."""
    answering = sipp(folder, "uas", CALLEE, ["-m", count])
    calling = sipp(folder, "uac", CALLER, [f"{PEER}:5060", "-m", count, "-r", rate, "-d", hold_ms,
                                           "-recv_timeout", "20000"])
    limit = count / rate + hold_ms / 1000 + 40
    with running(answering, folder, "uas", lambda: udp_bound(CALLEE, 5060)) as callee:
        with running(calling, folder, "uac", lambda: True) as caller:
            seen = while_held() if while_held else None
            caller.wait(limit)
        with contextlib.suppress(subprocess.TimeoutExpired):
            callee.wait(5)
    outcome = statistics(folder, "uac", CALLER)
    outcome["retransmitted"] += statistics(folder, "uas", CALLEE)["retransmitted"]
    return outcome, seen


@contextlib.contextmanager
def workplace():
    with tempfile.TemporaryDirectory(prefix="drawbridge-bench-") as folder:
        yield pathlib.Path(folder)
