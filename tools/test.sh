#!/usr/bin/env bash
# Installs what is needed, builds everything and runs every test: unit tests, the real small model, sanitizers, ARM.
#   tools/test.sh [--quick]     --quick: the native build and its tests only
set -euo pipefail
. "$(dirname "$0")/setup.sh"
quick=0
case "${1:-}" in
  '') ;;
  --quick) quick=1 ;;
  -h|--help) sed -n '2,3s/^# \?//p' "$0"; exit 0 ;;
  *) die "unknown option $1 (see --help)" ;;
esac
cd "$SVQ_ROOT"
passed=0 failed=0 skipped=0
times=()

# phase LABEL: begins a phase; the time of each is told at the end.
phase() {
  [ -z "${phase_label:-}" ] || times+=("$(printf '%5d s  %s' $((SECONDS - phase_start)) "$phase_label")")
  phase_label=$1 phase_start=$SECONDS
  [ -z "$1" ] || say "$1"
}

# run_ctest LABEL DIR OPTION…: runs a build's tests, as many at once as there are processors, and adds them to the totals.
run_ctest() {
  local label=$1 dir=$2 log
  shift 2
  log=$dir/ctest.log
  phase "$label: tests"
  ctest --test-dir "$dir" --output-on-failure --timeout 1200 -j "$(nproc)" "$@" 2>&1 | tee "$log" || true
  local total bad skip
  total=$(sed -n 's/.*tests failed out of \([0-9]*\).*/\1/p' "$log" | tail -n 1)
  bad=$(sed -n 's/.*passed, \([0-9]*\) tests failed out of.*/\1/p' "$log" | tail -n 1)
  skip=$(grep -c '\*\*\*Skipped' "$log" || true)
  [ -n "$total" ] || { total=1; bad=1; }
  passed=$((passed + total - bad - skip)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

phase "packages"
install_packages "${SVQ_BUILD_PACKAGES[@]}" "${SVQ_TEST_PACKAGES[@]}"

phase "release: build"
# Warnings stop CI alone: a newer compiler may know more of them.
# CUDA, where nvcc is: for one architecture, as each takes minutes.
cmake --preset release -DSVQ_WERROR=$([ -n "${CI:-}" ] && echo ON || echo OFF) -DSVQ_BUILD_TESTS=ON -DSVQ_BUILD_BENCHMARKS=ON -DSVQ_CUDA_ARCHITECTURES=87
cmake --build build/release
SVQ_TEST_MODEL_GGUF=$(fetch_smollm2 "$SVQ_ROOT/build/model")
export SVQ_TEST_MODEL_GGUF
run_ctest release build/release

if [ $quick = 0 ]; then
  phase "asan: build (address and undefined-behaviour sanitizers)"
  cmake --preset asan
  cmake --build build/asan
  run_ctest asan build/asan

  phase "tsan: build (thread sanitizer)"
  cmake --preset tsan
  cmake --build build/tsan --target svq_runtime_test
  run_ctest tsan build/tsan -R '^svq_runtime_test$'

  phase "aarch64: packages"
  if tools/sysroot-aarch64.sh build/sysroot-aarch64; then
    phase "aarch64: build (tests run under qemu)"
    cmake --preset aarch64
    cmake --build build/aarch64
    run_ctest aarch64 build/aarch64
  else
    say "aarch64: skipped (this system's package sources have no arm64 packages, or no cross compiler)"
    skipped=$((skipped + 1))
  fi
fi

phase ""
printf '\n'
printf '%s\n' "${times[@]}"
printf '\n%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed = 0 ]
