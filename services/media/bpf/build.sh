#!/bin/sh
# Compiles a program for the kernel, byte for byte the same wherever it is called from. Debian 12: clang-14, llvm-14 and
# linux-libc-dev. Usage: build.sh NAME OUTPUT, for NAME.bpf.c
set -eu
output=$(realpath "$2")
cd "$(dirname "$0")"
# What is compiled does not depend on the processor; where its headers are does.
clang-14 -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -I"/usr/include/$(uname -m)-linux-gnu" \
    -fdebug-compilation-dir=. -c "$1.bpf.c" -o "$output"
llvm-strip-14 -g "$output"
