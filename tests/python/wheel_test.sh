# wheel_test.sh PYTHON SOURCE LIBRARY MODEL: the wheel, unpacked somewhere, loads its own library and generates.
set -eu
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
wheel=$(bash "$2/tools/python/build_wheel.sh" "$3" "$root")
"$1" -m zipfile -e "$wheel" "$root/site"
cd "$root"
unset SVQRT_LIBRARY
PYTHONPATH=$root/site "$1" -c '
import svqrt, sys
assert svqrt.__file__.startswith(sys.argv[2]), svqrt.__file__
model = svqrt.Model(sys.argv[1])
print(svqrt.Session(model, threads=1).generate([1, 2, 3], 4).stop)
' "$4" "$root"
