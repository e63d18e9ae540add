# package_test.sh CMAKE BUILD LIBDIR MODEL CC CXX TOOLCHAIN SYSROOT EMULATOR…
# Installs the library into an empty folder, moves that folder, builds a project outside the tree against it by CMake
# (shared, static) and by pkg-config (shared, static), and runs each program on MODEL. All must print the same tokens.
set -eu
cmake=$1 build=$2 libdir=$3 model=$4 cc=$5 cxx=$6 toolchain=$7 sysroot=$8
shift 8
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
fail() { echo "$*" >&2; exit 1; }

"$cmake" --install "$build" --component runtime --prefix "$root/first" >/dev/null
test ! -e "$root/first/include" || fail "the runtime component holds headers"
"$cmake" --install "$build" --component dev --prefix "$root/first" >/dev/null
mv "$root/first" "$root/usr"  # relocatable
test "$(readlink "$root/usr/$libdir/libsvqrt.so")" = libsvqrt.so.0 || fail "libsvqrt.so does not point to libsvqrt.so.0"
cp -r "$here/consumer" "$root/consumer"

# run NAME PROGRAM: its output must be that of the others.
run() {
  out=$(LD_LIBRARY_PATH=$root/usr/$libdir "$@" "$model") || fail "$* failed"
  test -n "$out" || fail "$* printed nothing"
  test "$out" = "${expected:=$out}" || fail "$*: \"$out\", expected \"$expected\""
}
run_one() { p=$1; shift; run "$@" "$p"; }
# With an emulator LD_LIBRARY_PATH is its own; the guest's comes by -E.
if [ $# -gt 0 ]; then
  set -- "$@" -E "LD_LIBRARY_PATH=$root/usr/$libdir:$sysroot/usr/lib/aarch64-linux-gnu"
fi

for linkage in shared static; do
  "$cmake" -S "$root/consumer" -B "$root/build-$linkage" -DLINKAGE=$linkage -DCMAKE_PREFIX_PATH="$root/usr" \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" \
    ${toolchain:+-DCMAKE_TOOLCHAIN_FILE="$toolchain" -DSVQ_SYSROOT="$sysroot" -DCMAKE_FIND_ROOT_PATH="$root/usr"} \
    >"$root/log" 2>&1 || { cat "$root/log"; fail "configuring with $linkage failed"; }
  "$cmake" --build "$root/build-$linkage" >"$root/log" 2>&1 || { cat "$root/log"; fail "building with $linkage failed"; }
  for program in c99 cxx17 cxx20; do run_one "$root/build-$linkage/$program" "$@"; done
done

PKG_CONFIG_PATH=$root/usr/$libdir/pkgconfig
export PKG_CONFIG_PATH
link=
if [ -n "$sysroot" ]; then
  link="-L$sysroot/usr/lib/aarch64-linux-gnu -Wl,-rpath-link,$sysroot/usr/lib/aarch64-linux-gnu"
fi
"$cc" -std=c99 -o "$root/c99" "$root/consumer/main.c" $(pkg-config --cflags --libs svqrt) $link
"$cxx" -std=c++17 -o "$root/cxx17" "$root/consumer/main17.cc" $(pkg-config --cflags --libs svqrt) $link
"$cxx" -std=c++20 -o "$root/cxx20" "$root/consumer/main20.cc" $(pkg-config --cflags --libs svqrt) $link
"$cc" -std=c99 -o "$root/c99-static" "$root/consumer/main.c" \
  $(pkg-config --static --cflags --libs svqrt | sed 's/-lsvqrt/-l:libsvqrt.a/') $link
for program in c99 cxx17 cxx20 c99-static; do run_one "$root/$program" "$@"; done
# The component cuda is there when the module is.
mkdir "$root/cuda" && printf 'cmake_minimum_required(VERSION 3.16)\nproject(p C)\nfind_package(svqrt REQUIRED COMPONENTS cuda)\n' >"$root/cuda/CMakeLists.txt"
configure() {
  "$cmake" -S "$root/cuda" -B "$root/build-cuda" -DCMAKE_PREFIX_PATH="$root/usr" -DCMAKE_C_COMPILER="$cc" \
    ${toolchain:+-DCMAKE_TOOLCHAIN_FILE="$toolchain" -DSVQ_SYSROOT="$sysroot" -DCMAKE_FIND_ROOT_PATH="$root/usr"} >"$root/log" 2>&1
}
configure && fail "the component cuda is found without a module"
grep -q "there is no libsvqrt-cuda.so in" "$root/log" || { cat "$root/log"; fail "the error does not name the component"; }
touch "$root/usr/$libdir/libsvqrt-cuda.so"
configure || { cat "$root/log"; fail "the component cuda is not found beside its module"; }

echo "10 programs printed $expected"
