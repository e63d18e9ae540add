#include "converter/write/atomic_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>
#include <system_error>

#include "converter/base/error.h"

namespace svq::convert {

void throw_errno(const std::filesystem::path& path, std::string_view what) {
  const int error = errno;
  throw Error(path.string() + ": cannot " + std::string(what) + ": " + std::generic_category().message(error));
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)), temporary_(path_) {
  temporary_ += ".tmp";
  fd_ = open(temporary_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) throw_errno(temporary_, "create");
  if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    close(fd_);
    throw Error(temporary_.string() + ": another process is writing this file");
  }
  if (ftruncate(fd_, 0) != 0) {
    const int error = errno;
    close(fd_);
    errno = error;
    throw_errno(temporary_, "truncate");
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  unlink(temporary_.c_str());
  close(fd_);
}

void AtomicFile::write_at(uint64_t offset, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const size_t step = std::min<size_t>(bytes.size(), size_t{1} << 30);
    const ssize_t n = pwrite(fd_, bytes.data(), step, static_cast<off_t>(offset));
    if (n < 0) {
      if (errno == EINTR) continue;
      throw_errno(temporary_, "write");
    }
    bytes = bytes.subspan(static_cast<size_t>(n));
    offset += static_cast<uint64_t>(n);
  }
}

void AtomicFile::append(std::span<const std::byte> bytes) {
  write_at(size_, bytes);
  size_ += bytes.size();
}

void AtomicFile::append_zeros(uint64_t count) {
  static constexpr std::array<std::byte, 4096> kZeros{};
  while (count > 0) {
    const uint64_t step = std::min<uint64_t>(count, kZeros.size());
    append(std::span(kZeros).first(step));
    count -= step;
  }
}

void AtomicFile::overwrite(uint64_t offset, std::span<const std::byte> bytes) { write_at(offset, bytes); }

void AtomicFile::commit_as(const std::filesystem::path& path) {
  if (fsync(fd_) != 0) throw_errno(temporary_, "write to disk");
  if (rename(temporary_.c_str(), path.c_str()) != 0) throw_errno(path, "rename the finished file to this name");
  close(fd_);
  fd_ = -1;
  const auto directory = path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) throw_errno(directory, "open");
  // Some file systems know no fsync of a directory; the rename is then as durable as they make it.
  const bool failed = fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP;
  const int error = errno;
  close(fd);
  errno = error;
  if (failed) throw_errno(directory, "write to disk");
}

void write_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  AtomicFile file(path);
  file.append(bytes);
  file.commit();
}

void write_atomically(const std::filesystem::path& path, std::string_view text) {
  write_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace svq::convert
