#!/usr/bin/env bash
# From nothing to an answer: installs packages, builds, gets SmolLM2-135M-Instruct, converts it at 2 and at 4 bits,
# asks both the same question, and prints a table of size, perplexity and speed.
#   tools/demo.sh [PROMPT]
set -euo pipefail
. "$(dirname "$0")/setup.sh"
case "${1:-}" in -h|--help) sed -n '2,4s/^# \?//p' "$0"; exit 0;; esac

prompt=${1:-What is the capital of France?}
build=$SVQ_ROOT/build/release
work=$SVQ_ROOT/demo
mkdir -p "$work"

install_packages "${SVQ_BUILD_PACKAGES[@]}"
say "building"
cmake --preset release -S "$SVQ_ROOT" -DSVQ_BUILD_TESTS=OFF >"$work/configure.log" 2>&1 || { tail -n 20 "$work/configure.log"; die "configuring failed ($work/configure.log)"; }
cmake --build "$build"
bin=$build/bin

model=$(fetch_smollm2 "$work/model")
for bits in 2 4; do
  out=$work/smollm2-$bits-bit.svq
  if [ ! -f "$out" ]; then
    say "converting to $bits bits"
    "$bin/svqconvert" "$model" -o "$out" --bits $bits
  fi
done

# Text to measure on: this project's own documents would be odd English, so the model's licence-free prompt text is
# written below; a few hundred tokens give a rough perplexity, enough to compare two files of one model.
text=$work/text.txt
cp "$SVQ_ROOT/tools/demo-text.txt" "$text"

for bits in 2 4; do
  say "$bits bits: $prompt"
  "$bin/svqrun" "$work/smollm2-$bits-bit.svq" -p "$prompt" -n 64 --temperature 0
done

say "side by side"
printf '%-8s %10s %12s %14s\n' bits size perplexity 'decode tok/s'
for bits in 2 4; do
  f=$work/smollm2-$bits-bit.svq
  ppl=$("$bin/svqeval" perplexity "$f" --text "$text" --context 256 --json | python3 -c 'import json,sys; print("%.1f" % json.load(sys.stdin)["perplexity"])')
  tps=$("$bin/svqbench" "$f" --prompt 0 --generate 64 --repeat 3 --json | python3 -c 'import json,sys; d=json.load(sys.stdin); print("%.0f" % max(r["tokens_per_second"] for r in d["results"] if r["test"].startswith("tg")))')
  printf '%-8s %7.1f MB %12s %14s\n' $bits "$(stat -c %s "$f" | awk '{print $1/1e6}')" "$ppl" "$tps"
done
cat <<'NOTE'

A model of 135 million parameters has little to spare: without fine-tuning, 2 bits nearly destroy it, and its answer
above shows that. 4 bits keep it. Larger models lose far less.
NOTE
printf '\nChat with it:  %s %s\n' "$bin/svqrun" "$work/smollm2-4-bit.svq"
