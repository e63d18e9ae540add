# install_test.sh CMAKE BUILD LIBDIR CC SOURCE MODEL: installs the runtime into an empty folder, builds SOURCE against it by
# pkg-config and runs it on MODEL.
set -eu
cmake=$1 build=$2 libdir=$3 cc=$4 source=$5 model=$6
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
"$cmake" --install "$build" --component runtime --prefix "$root/usr" >/dev/null
test "$(readlink "$root/usr/$libdir/libsvqrt.so")" = libsvqrt.so.0
PKG_CONFIG_PATH=$root/usr/$libdir/pkgconfig
export PKG_CONFIG_PATH
"$cc" -std=c99 -o "$root/program" "$source" $(pkg-config --cflags --libs svqrt)
LD_LIBRARY_PATH=$root/usr/$libdir "$root/program" "$model"
