#include "runtime/base/memory_map.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "runtime/base/error.h"

namespace svq::rt {
namespace {
struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};
}  // namespace

int open_regular(const std::string& path, uint64_t* bytes) {
  // O_NONBLOCK: opening a FIFO must not wait for its writer.
  Descriptor file{open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.fd < 0) fail(SVQ_ERROR_IO, path, ": cannot be opened: ", std::strerror(errno));
  struct stat info;
  if (fstat(file.fd, &info) != 0) fail(SVQ_ERROR_IO, path, ": cannot be examined: ", std::strerror(errno));
  if (!S_ISREG(info.st_mode)) fail(SVQ_ERROR_IO, path, ": is not a regular file");
  *bytes = static_cast<uint64_t>(info.st_size);
  return std::exchange(file.fd, -1);
}

void read_at(int fd, const std::string& name, uint64_t at, uint8_t* to, uint64_t bytes) {
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t n = pread(fd, to + done, bytes - done, static_cast<off_t>(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(SVQ_ERROR_IO, name, ": cannot be read: ", n == 0 ? "it has shrunk" : std::strerror(errno));
    done += static_cast<uint64_t>(n);
  }
}

MemoryMap MemoryMap::file(const std::string& path) {
  uint64_t bytes = 0;
  const Descriptor file{open_regular(path, &bytes)};
  MemoryMap map;
  map.size_ = static_cast<size_t>(bytes);
  if (map.size_ == 0) return map;
  void* data = mmap(nullptr, map.size_, PROT_READ, MAP_SHARED, file.fd, 0);
  if (data == MAP_FAILED) {
    map.size_ = 0;
    fail(SVQ_ERROR_IO, path, ": cannot be mapped: ", std::strerror(errno));
  }
  map.data_ = static_cast<uint8_t*>(data);
  return map;
}

MemoryMap MemoryMap::anonymous(size_t bytes) {
  MemoryMap map;
  if (bytes == 0) return map;
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) fail(SVQ_ERROR_OUT_OF_MEMORY, bytes, " bytes of memory are not to be had");
  map.data_ = static_cast<uint8_t*>(data);
  map.size_ = bytes;
  return map;
}

MemoryMap MemoryMap::of_descriptor(int fd, size_t bytes, int flags) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (data == MAP_FAILED) fail(SVQ_ERROR_OUT_OF_MEMORY, bytes, " bytes of memory are not to be had");
  MemoryMap map;
  map.data_ = static_cast<uint8_t*>(data);
  map.size_ = bytes;
  return map;
}

MemoryMap::MemoryMap(MemoryMap&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MemoryMap& MemoryMap::operator=(MemoryMap&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MemoryMap::~MemoryMap() {
  if (data_ != nullptr) munmap(data_, size_);
}

void MemoryMap::prefer_huge_pages() {
#ifdef MADV_HUGEPAGE
  if (data_ != nullptr) madvise(data_, size_, MADV_HUGEPAGE);  // a hint: failure does not matter
#endif
}

void MemoryMap::lock(const std::string& what) const {
  if (data_ == nullptr || mlock(data_, size_) == 0) return;
  const int error = errno;
  rlimit limit{};
  getrlimit(RLIMIT_MEMLOCK, &limit);
  fail(SVQ_ERROR_OUT_OF_MEMORY, what, ": ", size_, " bytes cannot be locked in memory: ", std::strerror(error),
       limit.rlim_cur == RLIM_INFINITY
           ? std::string()
           : cat(" (this process may lock ", limit.rlim_cur, " bytes: raise it by ulimit -l or LimitMEMLOCK)"));
}

void MemoryMap::prefault() const {
  if (data_ == nullptr) return;
  madvise(data_, size_, MADV_WILLNEED);
  volatile uint8_t sink = 0;
  for (size_t at = 0; at < size_; at += 4096) sink = static_cast<uint8_t>(sink + data_[at]);
}

}  // namespace svq::rt
