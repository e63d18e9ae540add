# deb_test.sh CPACK BUILD CC MODEL LIBDIR [SYSROOT EMULATOR…]: builds the Debian packages, checks their fields, unpacks them into an
# empty folder, and builds and runs a program against what was unpacked. SVQ_PACKAGES names those that must be there.
set -eu
cpack=$1 build=$2 cc=$3 model=$4 libdir=$5
shift 5
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
fail() { echo "$*" >&2; exit 1; }
"$cpack" -G DEB --config "$build/CPackConfig.cmake" -B "$root/deb" >"$root/log" 2>&1 || { cat "$root/log"; fail "cpack failed"; }
for package in $SVQ_PACKAGES; do
  deb=$(ls "$root"/deb/"${package}"_*.deb) || fail "no package $package"
  dpkg-deb -x "$deb" "$root/root"
done
field() { dpkg-deb -f "$root"/deb/"$1"_*.deb "$2"; }
for needed in libc6 libstdc++6 libpcre2-8-0 libutf8proc; do
  field libsvqrt0 Depends | grep -q "$needed" || fail "libsvqrt0 does not depend on $needed: $(field libsvqrt0 Depends)"
done
field libsvqrt-dev Depends | grep -q "libsvqrt0 (= " || fail "libsvqrt-dev does not depend on its libsvqrt0"
dpkg-deb -c "$root"/deb/libsvqrt0_*.deb | grep -q '\.h$\|\.a$\|libsvqrt\.so$' && fail "libsvqrt0 holds development files"
# Unstripped libraries are some 10 MB.
test "$(stat -L -c %s "$root/root/usr/$libdir/libsvqrt.so.0")" -lt 1500000 || fail "the library in the package is not stripped"
PKG_CONFIG_PATH=$root/root/usr/$libdir/pkgconfig
export PKG_CONFIG_PATH
link= emulator=
if [ $# -gt 0 ]; then  # cross compiled: what Depends names lies in the sysroot, and programs run by the emulator
  sysroot=$1
  shift
  link="-L$sysroot/usr/lib/aarch64-linux-gnu -Wl,-rpath-link,$sysroot/usr/lib/aarch64-linux-gnu"
  emulator="$* -E LD_LIBRARY_PATH=$root/root/usr/$libdir:$sysroot/usr/lib/aarch64-linux-gnu"
  test "$(field libsvqrt0 Architecture)" = arm64 || fail "libsvqrt0 is for $(field libsvqrt0 Architecture)"
else
  LD_LIBRARY_PATH=$root/root/usr/$libdir
  export LD_LIBRARY_PATH
fi
"$cc" -o "$root/program" "$here/consumer/main.c" $(pkg-config --define-prefix --cflags --libs svqrt) $link
$emulator "$root/program" "$model"
# tool PACKAGE PROGRAM NEEDED…: the package holds the program, which runs, and depends on what it needs.
tool() {
  package=$1 program=$2
  shift 2
  $emulator "$root/root/usr/bin/$program" --help >/dev/null || fail "$program of the package does not run"
  for needed; do
    field "$package" Depends | grep -q "$needed" || fail "$package does not depend on $needed: $(field "$package" Depends)"
  done
}
for package in $SVQ_PACKAGES; do
  case $package in
    libsvqrt0|libsvqrt-dev) ;;  # above
    svq-tools) tool svq-tools svqrun libfmt libpcre2-8-0 ;;
    svq-convert) tool svq-convert svqconvert libtorch ;;
    libsvqrt-cuda0)
      dpkg-deb -c "$root"/deb/libsvqrt-cuda0_*.deb | grep -q 'libsvqrt-cuda\.so$' || fail "libsvqrt-cuda0 holds no module"
      field libsvqrt-cuda0 Depends | grep -q "libsvqrt0 (= " || fail "libsvqrt-cuda0 does not depend on its libsvqrt0"
      ;;
    *) fail "no check of package $package" ;;
  esac
done
echo
for p in "$root"/deb/*.deb; do echo "$(basename "$p") $(stat -c %s "$p") bytes"; done
