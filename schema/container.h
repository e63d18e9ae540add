// The container around a .svq file's metadata and data: one fixed header. Layout in FORMAT.md.
#pragma once
#include <cstdint>

namespace svq::format {

inline constexpr uint32_t kMagic = 0x31515653;       // "SVQ1" read as little-endian
inline constexpr uint16_t kMajor = 1;                // a reader refuses a larger one
inline constexpr uint16_t kMinor = 0;                // a reader accepts a larger one
inline constexpr uint64_t kDataAlignment = 4096;     // of the data section in the file
inline constexpr uint64_t kTensorAlignment = 64;     // of a tensor in the data section
inline constexpr uint64_t kMaxMetadata = (uint64_t{1} << 31) - 1;

// All integers little-endian. The file is exactly data_offset + data_size bytes long.
struct Header {
  uint32_t magic;
  uint16_t major;
  uint16_t minor;
  uint64_t metadata_offset;    // 64
  uint64_t metadata_size;
  uint64_t metadata_checksum;  // XXH3-64
  uint64_t data_offset;        // multiple of kDataAlignment
  uint64_t data_size;
  uint64_t reserved;           // 0
  uint64_t header_checksum;    // XXH3-64 of the 56 bytes before it
};
static_assert(sizeof(Header) == 64);

constexpr uint64_t align_up(uint64_t n, uint64_t a) { return (n + a - 1) / a * a; }

}  // namespace svq::format
