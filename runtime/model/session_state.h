// A session's context as bytes, to be saved and taken up again. Little-endian; every part begins at a multiple of 8.
//   StateHeader | name of the model | tokens int32 (n) | logits f32 (vocab), if any | cache (Backend::read_cache)
#pragma once
#include <cstdint>
#include <functional>

namespace svq::rt {

constexpr uint32_t kStateMagic = 0x4B515653;          // "SVQK"
constexpr uint16_t kStateMajor = 2, kStateMinor = 0;  // 1: keys in int8 were not rotated

struct StateHeader {
  uint32_t magic;
  uint16_t major, minor;  // a newer minor version adds at the end; a newer major one is refused
  uint64_t checksum;      // XXH3-64 of everything behind this field
  uint64_t bytes;         // of the whole
  uint64_t model;         // ModelFile::fingerprint()
  uint32_t name_bytes;
  uint32_t n_tokens;
  uint32_t n_layers, n_kv_heads, head_dim, kv_bits;
  uint32_t vocab;
  uint32_t has_logits;  // 0 or 1
  uint64_t random_state;
  uint64_t reserved[4];
};
static_assert(sizeof(StateHeader) == 104);

// A saved session, wherever it lies.
struct StateSource {
  uint64_t bytes;
  std::function<void(uint64_t at, uint8_t* to, uint64_t bytes)> read;
};

}  // namespace svq::rt
