#!/usr/bin/env bash
# Makes a folder with the arm64 libraries that libsvqrt links, for the cross build: packages are downloaded and
# unpacked, nothing of another architecture is installed on this machine.
#   tools/sysroot-aarch64.sh DIR
set -euo pipefail
. "$(dirname "$0")/setup.sh"
[ $# = 1 ] || die "usage: tools/sysroot-aarch64.sh DIR"
mkdir -p "$1"
dir=$(cd "$1" && pwd)
[ -f "$dir/complete" ] && exit 0
install_packages g++-aarch64-linux-gnu qemu-user

mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/debs"
touch "$dir/apt/status"
apt=(-oAPT::Architecture=arm64 -oAPT::Architectures=arm64 -oDir::State::Lists="$dir/apt/lists"
  -oDir::State::status="$dir/apt/status" -oDir::Cache="$dir/apt/cache" -oAPT::Sandbox::User=root -q)
apt-get "${apt[@]}" update >/dev/null || die "no arm64 package lists"
# sse2neon.h: its own package on newer distributions; Debian 12 ships it inside an R package.
neon=libsse2neon-dev
apt-cache "${apt[@]}" show $neon >/dev/null 2>&1 || neon=r-cran-randomfieldsutils
fmt=$(apt-cache "${apt[@]}" depends libfmt-dev | sed -n 's/.*Depends: \(libfmt[0-9]*\)$/\1/p')  # its shared library, named by version
(cd "$dir/debs" && apt-get "${apt[@]}" download libpcre2-dev libpcre2-8-0 libsentencepiece-dev libsentencepiece0 \
  libutf8proc-dev libutf8proc2 libflatbuffers-dev libxxhash-dev libcli11-dev nlohmann-json3-dev libfmt-dev $fmt \
  libgtest-dev $neon >/dev/null) || die "arm64 packages could not be downloaded"
for deb in "$dir"/debs/*.deb; do dpkg-deb -x "$deb" "$dir"; done
rm -rf "$dir/debs" "$dir/apt"
find "$dir" -name sse2neon.h | grep -q . || die "no sse2neon.h in package $neon"
touch "$dir/complete"
