#include "converter/sources/hash.h"

#include <xxhash.h>

#include <algorithm>
#include <cstdint>

namespace svq::convert {

struct Hasher::State {
  XXH3_state_t xxh;
};

Hasher::Hasher() : state_(std::make_unique<State>()) { XXH3_128bits_reset(&state_->xxh); }
Hasher::~Hasher() = default;

void Hasher::add(std::string_view name, std::span<const std::byte> bytes) {
  const uint64_t lengths[2] = {name.size(), bytes.size()};
  XXH3_128bits_update(&state_->xxh, lengths, sizeof lengths);
  XXH3_128bits_update(&state_->xxh, name.data(), name.size());
  XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
}

std::string Hasher::hex() const {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state_->xxh));
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (unsigned char byte : canonical.digest) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace svq::convert
