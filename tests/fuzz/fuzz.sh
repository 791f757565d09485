#!/bin/sh
# Lets libFuzzer search for bytes of which a property does not hold: fuzz.sh MINUTES [TARGET…], by default all in turn.
#
# What it learns is kept in target/fuzz/TARGET and read again the next time; what breaks a property is written to
# target/fuzz/found. A search ends with the figures of libFuzzer and the processor time that it had. Coverage comes from
# the compiler's own passes, so the stable toolchain will do; libFuzzer itself needs a C++ compiler.
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

mkdir -p "$out/fuzz/found"
failed=
for name in "$@"; do
	mkdir -p "$out/fuzz/$name"
	echo "$name, $minutes min:"
	# Ten seconds for one input are a hang, two gigabytes are growth.
	if ! (
		status=0
		FUZZ_TARGET=$name "$out/$host/fuzzing/engine" -max_total_time=$((minutes * 60)) -max_len=16384 -timeout=10 \
			-rss_limit_mb=2048 -print_final_stats=1 -dict="$here/words.dict" \
			-artifact_prefix="$out/fuzz/found/$name-" "$out/fuzz/$name" "$here/seeds/$name" \
			>"$out/fuzz/$name.log" 2>&1 || status=$?
		grep -E '^#.* DONE|panicked at|^stat::number|^stat::peak|Test unit written' "$out/fuzz/$name.log" || true
		# Of this shell, then of what it ran: user, system.
		times >"$out/fuzz/$name.times"
		sed -n 's/^/processor time: /;2p' "$out/fuzz/$name.times"
		exit $status
	); then
		failed="$failed $name"
	fi
done
if [ -n "$failed" ]; then
	echo "a property does not hold:$failed; see $out/fuzz" >&2
	exit 1
fi
