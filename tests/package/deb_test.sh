# deb_test.sh CPACK BUILD CC MODEL LIBDIR EMULATOR…: builds the Debian packages, checks their fields, unpacks them into an
# empty folder, and builds and runs a program against what was unpacked.
set -eu
cpack=$1 build=$2 cc=$3 model=$4 libdir=$5
shift 5
here=$(cd "$(dirname "$0")" && pwd)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
fail() { echo "$*" >&2; exit 1; }
"$cpack" -G DEB --config "$build/CPackConfig.cmake" -B "$root/deb" >"$root/log" 2>&1 || { cat "$root/log"; fail "cpack failed"; }
for package in libsvqrt0 libsvqrt-dev; do
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
test "$(stat -c %s "$root/root/usr/$libdir/libsvqrt.so.0")" != 0
test "$(stat -L -c %s "$root/root/usr/$libdir/libsvqrt.so.0")" -lt 1500000 || fail "the library in the package is not stripped"
PKG_CONFIG_PATH=$root/root/usr/$libdir/pkgconfig
export PKG_CONFIG_PATH
"$cc" -o "$root/program" "$here/consumer/main.c" $(pkg-config --define-prefix --cflags --libs svqrt)
LD_LIBRARY_PATH=$root/root/usr/$libdir "$root/program" "$model"
if ls "$root"/deb/svq-tools_*.deb >/dev/null 2>&1; then
  dpkg-deb -x "$root"/deb/svq-tools_*.deb "$root/root"
  "$root/root/usr/bin/svqrun" --help >/dev/null || fail "svqrun of the package does not run"
fi
echo
for p in "$root"/deb/*.deb; do echo "$(basename "$p") $(stat -c %s "$p") bytes"; done
