#!/usr/bin/env bash
# Whether control groups hold trials to what they were granted, on a kernel of its own: most build machines do not let anybody
# make groups. Boots a Linux kernel in QEMU, without KVM, with `heats`, a shell and nothing else, and runs `guest.sh` there.
# About two minutes.
#
#   tests/cgroups/check.sh [KERNEL]    KERNEL is a bzImage with control groups of version 2; /boot/vmlinuz-* where it is not given
#
# Needs qemu-system-x86_64, a static busybox and cpio. On Debian:
#   apt install qemu-system-x86 busybox-static cpio
#   apt download linux-image-cloud-amd64 and unpack the package that it depends on with `dpkg-deb -x`, for a kernel
# HEATS_BIN names the binary to be looked at, instead of a release build of this tree.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
say() { echo "$@" >&2; exit 2; }

for tool in qemu-system-x86_64 busybox cpio; do
  command -v "$tool" >/dev/null || say "there is no $tool: apt install qemu-system-x86 busybox-static cpio"
done
kernel=${1:-$(ls /boot/vmlinuz-* 2>/dev/null | sort -V | tail -n 1)}
[ -r "${kernel:-/none}" ] || say "no kernel to boot: name one, see the head of $0"
heats=${HEATS_BIN:-}
if [ -z "$heats" ]; then
  cargo build --quiet --release --manifest-path "$root/Cargo.toml" -p heats
  heats=${CARGO_TARGET_DIR:-$root/target}/release/heats
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
guest=$folder/guest
mkdir -p "$guest"/{bin,dev,proc,sys,tmp,etc,root}
cp "$(command -v busybox)" "$guest/bin/busybox"
cp "$heats" "$guest/bin/heats"
strip "$guest/bin/heats" 2>/dev/null || true
# The libraries that it is linked with, and the loader.
ldd "$heats" | grep -o '/[^ ]*' | while read -r library; do cp --parents -L "$library" "$guest"; done
cp "$here/guest.sh" "$guest/init"
chmod +x "$guest/init"
(cd "$guest" && find . | cpio --quiet -o -H newc | gzip -1) >"$folder/initrd"

timeout 900 qemu-system-x86_64 -accel tcg,thread=multi -cpu max -m 3072 -smp 2 -display none -no-reboot \
  -serial "file:$folder/console" -kernel "$kernel" -initrd "$folder/initrd" \
  -append "console=ttyS0 quiet panic=-1" || true

grep -a -e '^ok ' -e '^FAILED ' "$folder/console" | tr -d '\r' || true
if ! grep -aq '^done' "$folder/console" || grep -aq '^FAILED' "$folder/console"; then
  tail -n 60 "$folder/console" >&2
  exit 1
fi
