#include "runtime/base/shared_pages.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <new>

#include "runtime/base/error.h"

namespace svq::rt {

std::shared_ptr<SharedPages> SharedPages::create(size_t bytes) {
  rlimit limit;  // beyond it ftruncate would raise a signal
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < bytes) return nullptr;
  const int fd = memfd_create("svq-kv", MFD_CLOEXEC);
  if (fd < 0) return nullptr;
  if (bytes == 0 || ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    close(fd);
    return nullptr;
  }
  return std::shared_ptr<SharedPages>(new SharedPages(fd, bytes));
}

SharedPages::~SharedPages() { close(fd_); }

MemoryMap SharedPages::writable() const { return MemoryMap::of_descriptor(fd_, bytes_, MAP_SHARED | MAP_NORESERVE); }
MemoryMap SharedPages::copy() const { return MemoryMap::of_descriptor(fd_, bytes_, MAP_PRIVATE | MAP_NORESERVE); }

void SharedPages::replace_by_copy(MemoryMap& map) const {
  if (map.size() != bytes_) fail(SVQ_ERROR_INTERNAL, "a session's cache has another size than its copy");
  void* data = mmap(map.data(), bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd_, 0);
  if (data == MAP_FAILED) fail(SVQ_ERROR_OUT_OF_MEMORY, bytes_, " bytes of memory cannot be mapped");
}

}  // namespace svq::rt
