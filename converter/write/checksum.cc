#include "converter/write/checksum.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace svq::convert {

uint64_t checksum(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

struct Checksum::State {
  XXH3_state_t xxh;
};

Checksum::Checksum() : state_(new State) { reset(); }
Checksum::~Checksum() = default;
void Checksum::reset() { XXH3_64bits_reset(&state_->xxh); }
void Checksum::update(std::span<const std::byte> bytes) {
  XXH3_64bits_update(&state_->xxh, bytes.data(), bytes.size());
}
uint64_t Checksum::digest() const { return XXH3_64bits_digest(&state_->xxh); }

void seal(format::Header& header) {
  header.header_checksum = XXH3_64bits(&header, offsetof(format::Header, header_checksum));
}
bool is_sealed(const format::Header& header) {
  return header.header_checksum == XXH3_64bits(&header, offsetof(format::Header, header_checksum));
}

ReadFile::~ReadFile() {
  if (fd_ >= 0) close(fd_);
}

bool ReadFile::open(const std::filesystem::path& path) {
  fd_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat status;
  if (fd_ < 0 || fstat(fd_, &status) != 0 || !S_ISREG(status.st_mode)) return false;
  size_ = static_cast<uint64_t>(status.st_size);
  return true;
}

bool ReadFile::read(uint64_t offset, std::span<std::byte> out) const {
  while (!out.empty()) {
    const ssize_t n = pread(fd_, out.data(), std::min<size_t>(out.size(), size_t{1} << 30), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    out = out.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
  return true;
}

}  // namespace svq::convert
