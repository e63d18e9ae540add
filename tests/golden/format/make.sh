#!/usr/bin/env bash
# Makes the frozen files of the current format version. Refuses to touch those of an earlier one.
#   tests/golden/format/make.sh BUILD        BUILD: a finished build with converter and tests, e.g. build/release
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 BUILD" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$1/bin" && pwd)
header=$here/../../../schema/container.h
version=$(sed -n 's/.*kMajor = \([0-9]*\).*/\1/p' "$header").$(sed -n 's/.*kMinor = \([0-9]*\).*/\1/p' "$header")
[ -e "$here/$version" ] && { echo "$here/$version exists: frozen files are not made anew" >&2; exit 1; }
mkdir "$here/$version"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

make_file() {  # NAME "SHAPE…" OPTION…
  local name=$1 shape=$2
  shift 2
  # shellcheck disable=SC2086
  "$bin/svq_make_tiny_gguf" "$work/$name.gguf" $shape
  (cd "$work" && "$bin/svqconvert" $name.gguf -o $name.svq --calibration-sequences 8 --calibration-length 64 \
    --threads 1 --effort none --quiet "$@")
  cp "$work/$name.svq" "$here/$version/$name.svq.golden"
}
make_file llama "llama hidden=48 intermediate=80 heads=4 kv_heads=2 head_dim=12" --bits 2 \
  --override 'blocks.0.o=3' --override 'blocks.0.down=4' --override 'blocks.1.v=8' --override 'blocks.1.up=3'
make_file qwen2 "qwen2 untied hidden=48 intermediate=96 layers=1 heads=2 kv_heads=1 head_dim=24" --bits 2 \
  --head-bits 3 --rotation blocks --lattice orthogonal --map-columns 32
make_file qwen3 "qwen3 hidden=40 intermediate=80 layers=1 heads=2 kv_heads=2 head_dim=16" --bits 2 --embedding-bits 8 \
  --method gptq --override 'blocks.0.k=16' --override 'blocks.0.down=16'
SVQ_WRITE_GOLDEN=1 "$bin/svq_frozen_test"
ls -l "$here/$version"
