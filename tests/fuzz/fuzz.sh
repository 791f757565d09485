#!/bin/sh
# Lets libFuzzer search for bytes of which a property does not hold: fuzz.sh MINUTES [TARGET…], by default all in turn,
# each for so many minutes of processor time.
#
# What it learns is kept in target/fuzz/TARGET and read again the next time; what breaks a property is written to
# target/fuzz/found. A search ends with the figures of libFuzzer. Coverage comes from the compiler's own passes, so the
# stable toolchain will do; libFuzzer itself needs a C++ compiler.
set -eu

minutes=$1
shift
here=$(cd "$(dirname "$0")" && pwd)
out=${CARGO_TARGET_DIR:-$here/../../target}
host=$(rustc -vV | sed -n 's/^host: //p')
[ $# -gt 0 ] || set -- $(ls "$here/seeds")

coverage="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table trace-compares; do
	coverage="$coverage -Cllvm-args=-sanitizer-coverage-$option"
done
# With --target these flags are not for build scripts, which have no libFuzzer to report to.
RUSTFLAGS="${RUSTFLAGS:-} $coverage" "${CARGO:-cargo}" build --locked --manifest-path "$here/Cargo.toml" \
	--features engine --bin engine --profile fuzzing --target "$host"

# Searches until the processor time is spent, on a busy machine in several goes; prints the figures of each.
search() {
	name=$1 spent=0 tries=0 status=0
	: >"$out/fuzz/$name.log"
	until [ "$spent" -ge $((minutes * 60)) ] || [ "$tries" -ge 20 ]; do
		# A minute for one input is a hang even on a busy machine, two gigabytes are growth.
		FUZZ_TARGET=$name "$out/$host/fuzzing/engine" -max_total_time=$((minutes * 60 - spent + 20)) -max_len=16384 \
			-timeout=60 -rss_limit_mb=2048 -print_final_stats=1 -dict="$here/words.dict" \
			-artifact_prefix="$out/fuzz/found/$name-" "$out/fuzz/$name" "$here/seeds/$name" \
			>>"$out/fuzz/$name.log" 2>&1 || status=1
		# The second line is of what this shell has run: user and system.
		times >"$out/fuzz/$name.times"
		spent=$(sed -n 2p "$out/fuzz/$name.times" | tr ms '  ' | awk '{ print int($1 * 60 + $2 + $3 * 60 + $4) }')
		tries=$((tries + 1))
		[ "$status" = 0 ] || return 1
	done
}

mkdir -p "$out/fuzz/found"
failed=
for name in "$@"; do
	mkdir -p "$out/fuzz/$name"
	echo "$name, $minutes min of processor time:"
	(search "$name") || failed="$failed $name"
	grep -aE 'DONE|panicked at|^stat::number|^stat::peak|Test unit written' "$out/fuzz/$name.log" || true
	sed -n 's/^/processor time: /;2p' "$out/fuzz/$name.times"
done
if [ -n "$failed" ]; then
	echo "a property does not hold:$failed; see $out/fuzz" >&2
	exit 1
fi
