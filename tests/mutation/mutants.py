#!/usr/bin/env python3
"""Breaks the state machines on purpose, one small mutation at a time, and shows which test notices.

Each mutation of mutants.toml is applied to a copy of the tree, which is then built and tested: the wire tests, the stories and
the fixed sweep of the simulator, the tables of the transactions. A mutant that all of them pass has survived, and so has one
that only a time limit stops: the tests themselves have to notice a program that never comes to an end.

    tests/mutation/mutants.py [--jobs N] [--part K/N] [--list] [NAME...]

Exit code 1 when a mutant survived, 2 when a mutation does not fit the source any more or does not compile.
"""

import argparse
import concurrent.futures
import os
import pathlib
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib

ROOT = pathlib.Path(__file__).resolve().parents[2]
PLACE = pathlib.Path(tempfile.gettempdir()) / "drawbridge-mutants"

# What a mutant is shown to, the quickest first; the first that fails has caught it.
SUITES = [
    ("wire", ["-p", "call", "--test", "wire"]),
    ("story", ["-p", "simulation", "--test", "stories"]),
    ("sweep", ["-p", "simulation", "--test", "sweep", "the_fixed_sweep_keeps_every_rule_and_reaches_every_cell"]),
    ("table", ["-p", "sip", "--test", "transaction"]),
]
# A first build takes minutes; a suite that runs for longer than this says nothing.
BUILD_LIMIT = 1800
RUN_LIMIT = 180


class Unfit(Exception):
    """The mutation is wrong, not the tests."""


def mutants():
    with open(pathlib.Path(__file__).with_name("mutants.toml"), "rb") as file:
        return tomllib.load(file)["mutant"]


def mutate(text, mutant):
    found = text.count(mutant["find"])
    if found != 1:
        raise Unfit(f"{mutant['file']}: expected its text once, found it {found} times")
    return text.replace(mutant["find"], mutant["replace"])


def copy_tree(into):
    """The files of the tree as they are, committed or not. Those that did not change keep their time, so that nothing is
    built again without need."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True,
    ).stdout.decode().split("\0")
    wanted = {name for name in listed if name and (ROOT / name).is_file()}
    for name in wanted:
        source, target = ROOT / name, into / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
            shutil.copymode(source, target)
    for path in (into / "services", into / "tests"):
        for file in path.rglob("*.rs") if path.exists() else []:
            if str(file.relative_to(into)) not in wanted:
                file.unlink()


def cargo(tree, arguments, limit):
    """Runs cargo test in the tree; its exit code (None: out of time) and what it said."""
    environment = {
        **os.environ,
        "CARGO_TARGET_DIR": str(tree.parent / "target"),
        "RUSTFLAGS": "-Awarnings",
        "RUST_BACKTRACE": "0",
        "CARGO_TERM_COLOR": "never",
    }
    process = subprocess.Popen(
        ["cargo", "test", "--quiet", *arguments],
        cwd=tree, env=environment, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=limit)
        return process.returncode, said
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said, _ = process.communicate()
        return None, said


def witness(said):
    """The first test that failed, and the oracle's rule where one was broken."""
    failed = re.search(r"^(?:test )?(\S+)(?: \.\.\.)?(?: ---)? FAILED", said, re.MULTILINE)
    broken = re.search(r"^broken: (.+)$", said, re.MULTILINE)
    count = len(set(re.findall(r"^---- (\S+) stdout ----", said, re.MULTILINE)))
    words = [failed.group(1)] if failed else []
    words += [f"and {count - 1} more"] if count > 1 else []
    words += [f'"{broken.group(1)[:120]}"'] if broken else []
    return " ".join(words) or "the suite failed"


def run(tree, mutant):
    """(caught, what is to be said of it)"""
    file = tree / mutant["file"]
    original = file.read_text()
    try:
        file.write_text(mutate(original, mutant))
        for suite, arguments in SUITES:
            code, said = cargo(tree, [*arguments[:4], "--no-run"], BUILD_LIMIT)
            if code != 0:
                raise Unfit("does not compile:\n" + said[-2000:])
            only = ["--", *arguments[4:]] if arguments[4:] else []
            code, said = cargo(tree, [*arguments[:4], *only], RUN_LIMIT)
            if code == 0 and not re.search(r"^test result: ok\. [1-9]", said, re.MULTILINE):
                raise Unfit(f"{suite}: no test of that name")
            if code is None:
                return False, f"{suite}: no end after {RUN_LIMIT} s, and nobody says so"
            if code != 0:
                return True, f"{suite}: {witness(said)}"
        return False, "nobody notices"
    finally:
        file.write_text(original)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1, help="trees that are built side by side")
    parser.add_argument("--part", default="1/1", help="K/N: the K-th of N parts")
    parser.add_argument("--list", action="store_true", help="only check that every mutation fits the source")
    parser.add_argument("names", nargs="*", help="these mutants only")
    options = parser.parse_args()
    part, parts = (int(number) for number in options.part.split("/"))

    everything = mutants()
    unknown = set(options.names) - {mutant["name"] for mutant in everything}
    chosen = [mutant for mutant in everything if not options.names or mutant["name"] in options.names]
    chosen = chosen[part - 1::parts]
    bad = [f"no mutant is called {name}" for name in sorted(unknown)]
    for mutant in everything:
        try:
            mutate((ROOT / mutant["file"]).read_text(), mutant)
        except (OSError, Unfit) as why:
            bad.append(f"{mutant['name']}: {why}")
    if bad:
        print("\n".join(bad), file=sys.stderr)
        return 2
    if options.list:
        print("\n".join(mutant["name"] for mutant in chosen))
        return 0

    trees = queue.Queue()
    for job in range(max(1, options.jobs)):
        tree = PLACE / str(job) / "tree"
        copy_tree(tree)
        trees.put(tree)

    def one(mutant):
        tree, begun = trees.get(), time.monotonic()
        try:
            caught, what = run(tree, mutant)
            return mutant, "caught" if caught else "SURVIVED", what, time.monotonic() - begun
        except Unfit as why:
            return mutant, "UNFIT", str(why), time.monotonic() - begun
        finally:
            trees.put(tree)

    verdicts = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=max(1, options.jobs)) as pool:
        for done in concurrent.futures.as_completed([pool.submit(one, mutant) for mutant in chosen]):
            mutant, verdict, what, seconds = done.result()
            verdicts.append(verdict)
            print(f"{verdict:9} {mutant['name']:40} {seconds:4.0f} s  {what}", flush=True)
    survived, unfit = verdicts.count("SURVIVED"), verdicts.count("UNFIT")
    print(f"{len(verdicts)} mutants: {verdicts.count('caught')} caught, {survived} survived, {unfit} unfit")
    return 2 if unfit else 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
