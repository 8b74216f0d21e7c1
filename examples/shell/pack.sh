#!/bin/sh
# Compress a log file block by block and report what the choice of block size and level costs.
#
# Usage: sh pack.sh BLOCK_BYTES LEVEL
#
# Reports are lines on stdout that start with `::metric`. When Heats has seen enough it sends SIGTERM:
# the trap removes the work files and leaves. Without a trap the shell would just be killed, which Heats
# also counts as stopped; the files would then stay.
set -eu

block=$1
level=$2
slices=8
slice_bytes=16384

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'echo "asked to stop in slice $slice: cleaning up" >&2; exit 143' TERM INT

# A log with the repetitions that logs have; the same one every time.
slice=0
awk -v bytes=$((slices * slice_bytes)) 'BEGIN {
    x = 42
    while (written < bytes) {
        x = (x * 16807) % 2147483647
        line = sprintf("%010d host%02d request %s took %d ms", NR + x % 100000, x % 16, \
            (x % 5 == 0) ? "/api/v1/users" : "/static/logo.svg", int(x / 7) % 900)
        print line
        written += length(line) + 1
    }
}' > "$work/log"

packed=0
blocks=0
while [ "$slice" -lt "$slices" ]; do
    slice=$((slice + 1))
    at=0
    while [ "$at" -lt "$slice_bytes" ]; do
        # The last block of a slice may be short. `tail -c +N` counts from 1.
        size=$((slice_bytes - at < block ? slice_bytes - at : block))
        bytes=$(tail -c +$(((slice - 1) * slice_bytes + at + 1)) "$work/log" | head -c "$size" | gzip "-$level" | wc -c)
        packed=$((packed + bytes))
        blocks=$((blocks + 1))
        at=$((at + block))
    done
    # Packed size as a share of the raw size, plus what reading one record costs: a whole block is unpacked for it.
    awk -v step="$slice" -v packed="$packed" -v raw=$((slice * slice_bytes)) -v block="$block" 'BEGIN {
        ratio = packed / raw
        printf "::metric step=%d cost=%.6f ratio=%.6f\n", step, ratio + block / 65536, ratio
    }'
done
echo "$blocks blocks of $block bytes at level $level: $packed bytes"
