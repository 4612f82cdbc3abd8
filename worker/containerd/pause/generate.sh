#!/bin/sh
# Builds the programs that are committed beside it. Needs clang and lld.
set -eu

for target in amd64:x86_64 arm64:aarch64; do
	clang --target="${target#*:}-linux-gnu" -Os -Wall -Wextra -Werror -ffreestanding -fno-stack-protector \
		-fno-asynchronous-unwind-tables -nostdlib -static -fuse-ld=lld -Wl,-s,-n,--build-id=none,-z,noexecstack \
		-fno-ident -o "pause_linux_${target%%:*}" pause.c
done
