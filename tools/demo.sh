#!/usr/bin/env bash
# From nothing to an answer: installs packages, builds, gets SmolLM2-135M-Instruct, converts it at 2 and at 4 bits, asks
# both the same question, and prints a table of size, perplexity and speed.
#   tools/demo.sh [PROMPT]
# What it makes lies in build/release and demo/. Interrupted, it goes on where it stopped; run again, it only asks.
set -euo pipefail
export LC_ALL=C
. "$(dirname "$0")/setup.sh"
case "${1:-}" in
  -h|--help) sed -n '2,5s/^# \?//p' "$0"; exit 0 ;;
  -*) die "unknown option $1 (see --help)" ;;
esac
[ $# -le 1 ] || die "expected one prompt, in quotes (see --help)"

prompt=${1:-What is the capital of France?}
build=$SVQ_ROOT/build/release
bin=$build/bin
work=$SVQ_ROOT/demo
mkdir -p "$work"
file() { printf '%s/smollm2-%s-bit.svq' "$work" "$1"; }

if [ ! -x "$bin/svqconvert" ] || [ ! -f "$(file 2)" ]; then
  say "the first run takes about a quarter of an hour on two cores: packages 2 GB, building, a model of 98 MB, two conversions"
fi
install_packages "${SVQ_BUILD_PACKAGES[@]}"
say "building (some minutes the first time)"
cmake --preset release -S "$SVQ_ROOT" -DSVQ_BUILD_TESTS=OFF -DSVQ_CUDA=OFF >"$work/configure.log" 2>&1 ||
  { tail -n 20 "$work/configure.log" >&2; die "configuring failed ($work/configure.log)"; }
cmake --build "$build"

model=$(fetch_smollm2 "$work/model")
# 16 bits: the source as it is, to compare with.
for bits in 16 2 4; do
  if [ -f "$(file $bits)" ]; then
    say "$bits bits: using $(file $bits) of an earlier run (remove it to convert again)"
  elif [ $bits = 16 ]; then
    "$bin/svqconvert" "$model" -o "$(file $bits)" --bits 16 --quiet
  else
    say "converting to $bits bits: some five minutes, calibrated on text that the model writes itself"
    # The table of every linear is for other days.
    "$bin/svqconvert" "$model" -o "$(file $bits)" --bits $bits --effort none | tee "$work/convert-$bits-bit.log" | sed -u '/^linear /,/^$/d'
  fi
done

for bits in 2 4; do
  say "$bits bits: $prompt"
  "$bin/svqrun" "$(file $bits)" -p "$prompt" -n 64 --temperature 0
done

# field NAME: of a program's JSON report on standard input.
field() { sed -n "s/^ *\"$1\": \([0-9.e+-]*\),\?$/\1/p" | head -n 1; }
say "side by side"
printf '%-20s %10s %11s %13s\n' bits size perplexity 'decode tok/s'
for bits in 16 4 2; do
  f=$(file $bits)
  perplexity=$("$bin/svqeval" perplexity "$f" --text "$SVQ_ROOT/tools/demo-text.txt" --context 256 --json 2>/dev/null | field perplexity)
  speed=$("$bin/svqbench" "$f" --prompt 0 --generate 64 --repeat 3 --json 2>/dev/null | field tokens_per_second)
  [ -n "$perplexity" ] && [ -n "$speed" ] || die "measuring $f failed"
  label=$bits
  [ $bits = 16 ] && label="16 (not quantized)"
  printf '%-20s %7.1f MB %11.1f %13.0f\n' "$label" "$(stat -c %s "$f" | awk '{print $1/1e6}')" "$perplexity" "$speed"
done
cat <<NOTE

Perplexity is measured on tools/demo-text.txt: a page of prose, enough to compare files of one model, lower is better.
A model of 135 million parameters has little to spare. Without fine-tuning, 2 bits nearly destroy it, as its answer and
its perplexity show; 4 bits keep it. Fine-tuning mends much of it, in some twenty minutes on two cores:
  $bin/svqconvert $model -o $work/smollm2-2-bit-tuned.svq

Chat with it:  $bin/svqrun $(file 4)
NOTE
