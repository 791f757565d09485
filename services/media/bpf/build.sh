#!/bin/sh
# Compiles the program for the kernel. Debian 12: clang-14, llvm-14 and linux-libc-dev. Usage: build.sh OUTPUT
set -eu
here=$(dirname "$0")
include=/usr/include/$(uname -m)-linux-gnu
clang-14 -target bpf -mcpu=v3 -O2 -g -Wall -Wextra -Werror -I"$include" -fdebug-prefix-map="$PWD"=. \
    -c "$here/relay.bpf.c" -o "$1"
llvm-strip-14 -g "$1"
