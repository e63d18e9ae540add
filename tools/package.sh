#!/usr/bin/env bash
# Builds the Debian packages libsvqrt0, libsvqrt-dev and svq-tools; libsvqrt-cuda0 where nvcc is found.
#   tools/package.sh [--converter] [amd64|arm64] [OUT]     default: this machine's architecture, into build/packages
#   --converter: svq-convert too (not when cross compiling)
set -euo pipefail
. "$(dirname "$0")/setup.sh"
case "${1:-}" in -h|--help) sed -n '2,4s/^# \?//p' "$0"; exit 0 ;; esac
converter=OFF
if [ "${1:-}" = --converter ]; then converter=ON; shift; fi
arch=${1:-$(dpkg --print-architecture)}
mkdir -p "${2:-$SVQ_ROOT/build/packages}"
out=$(cd "${2:-$SVQ_ROOT/build/packages}" && pwd)
cd "$SVQ_ROOT"
build=build/package-$arch
options=(-DCMAKE_BUILD_TYPE=Release -DSVQ_BUILD_CONVERTER=$converter -DSVQ_BUILD_TESTS=OFF -DSVQ_BUILD_TOOLS=ON ${SVQ_CMAKE_OPTIONS:-})
if [ "$arch" = "$(dpkg --print-architecture)" ]; then
  install_packages g++ cmake ninja-build dpkg-dev file libflatbuffers-dev flatbuffers-compiler libsentencepiece-dev \
    libpcre2-dev libutf8proc-dev libxxhash-dev libcli11-dev nlohmann-json3-dev libfmt-dev
  [ $converter = OFF ] || install_packages "${SVQ_BUILD_PACKAGES[@]}"
  options+=(-DCMAKE_INSTALL_LIBDIR="lib/$(dpkg-architecture -a "$arch" -qDEB_HOST_MULTIARCH)")
elif [ "$arch" = arm64 ]; then
  [ $converter = OFF ] || die "svqconvert is for workstations: it is not cross compiled"
  tools/sysroot-aarch64.sh build/sysroot-aarch64
  options+=(-DCMAKE_TOOLCHAIN_FILE="$SVQ_ROOT/tools/cmake/aarch64-linux-gnu.cmake" -DSVQ_SYSROOT="$SVQ_ROOT/build/sysroot-aarch64"
    -DCMAKE_INSTALL_LIBDIR=lib/aarch64-linux-gnu)
else
  die "packages for $arch are not built on $(dpkg --print-architecture)"
fi
cmake -S . -B "$build" -G Ninja "${options[@]}" >/dev/null
cmake --build "$build" ${SVQ_BUILD_JOBS:+-j "$SVQ_BUILD_JOBS"}
(cd "$build" && rm -f ./*.deb && cpack -G DEB >/dev/null) || die "cpack failed: $build/_CPack_Packages holds its log"
cp "$build"/*.deb "$out"/
ls -l "$out"/*_"$arch".deb
