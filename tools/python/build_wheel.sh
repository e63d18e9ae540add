#!/usr/bin/env bash
# Builds a wheel for this machine with the library inside: build_wheel.sh LIBSVQRT.so OUT
set -euo pipefail
[ $# = 2 ] || { echo "usage: build_wheel.sh LIBSVQRT.so OUT" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
library=$(readlink -f "$1")
mkdir -p "$2"
out=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -r "$here/pyproject.toml" "$here/README.md" "$here/svqrt" "$work"/
cp "$library" "$work/svqrt/libsvqrt.so.0"
# A wheel is a zip file with a few words about itself; with a library inside it belongs to one platform.
python3 - "$work" "$out" <<'PY'
import base64, hashlib, pathlib, platform, re, sys, sysconfig, zipfile
work, out = map(pathlib.Path, sys.argv[1:])
version = re.search(r'^version = "(.*)"', (work / "pyproject.toml").read_text(), re.M)[1]
tag = "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")
info = f"svqrt-{version}.dist-info"
files = {f"svqrt/{p.name}": p.read_bytes() for p in sorted((work / "svqrt").iterdir()) if p.is_file()}
files[f"{info}/METADATA"] = (f"Metadata-Version: 2.1\nName: svqrt\nVersion: {version}\nSummary: Runs .svq language models\n"
                             "Requires-Python: >=3.9\nDescription-Content-Type: text/markdown\n\n" + (work / "README.md").read_text()).encode()
files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: svqrt\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
record = "".join(f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
                 for name, data in files.items()) + f"{info}/RECORD,,\n"
path = out / f"svqrt-{version}-{tag}.whl"
with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
    for name, data in {**files, f"{info}/RECORD": record.encode()}.items():
        wheel.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
print(path)
PY
