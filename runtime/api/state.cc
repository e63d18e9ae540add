// Sessions forked, saved and restored; their limits.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>

#include "runtime/api/guard.h"
#include "runtime/base/memory_map.h"

using namespace svq::rt;

namespace {

// A file that is written under a temporary name first: a reader sees the whole file or none.
class NewFile {
 public:
  explicit NewFile(std::string path) : path_(std::move(path)), temporary_(cat(path_, ".tmp", getpid())) {
    fd_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd_ < 0) fail(SVQ_ERROR_IO, temporary_, ": cannot be created: ", std::strerror(errno));
  }
  ~NewFile() {
    if (fd_ >= 0) close(fd_);
    if (!done_) unlink(temporary_.c_str());
  }
  NewFile(const NewFile&) = delete;

  void write(uint64_t at, const void* data, uint64_t bytes) {
    for (uint64_t done = 0; done < bytes;) {
      const ssize_t n =
          pwrite(fd_, static_cast<const uint8_t*>(data) + done, bytes - done, static_cast<off_t>(at + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(SVQ_ERROR_IO, temporary_, ": cannot be written: ", std::strerror(errno));
      done += static_cast<uint64_t>(n);
    }
  }
  void finish() {
    if (fsync(fd_) != 0) fail(SVQ_ERROR_IO, temporary_, ": cannot be synced: ", std::strerror(errno));
    if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
      fail(SVQ_ERROR_IO, path_, ": cannot be replaced: ", std::strerror(errno));
    }
    done_ = true;
  }

 private:
  const std::string path_, temporary_;
  int fd_ = -1;
  bool done_ = false;
};

// A file that is read piece by piece.
class OldFile {
 public:
  explicit OldFile(std::string path) : path_(std::move(path)), fd_(open_regular(path_, &bytes_)) {}
  ~OldFile() { close(fd_); }
  OldFile(const OldFile&) = delete;

  uint64_t bytes() const { return bytes_; }
  void read(uint64_t at, uint8_t* to, uint64_t bytes) const { read_at(fd_, path_, at, to, bytes); }

 private:
  const std::string path_;
  uint64_t bytes_ = 0;  // set when the file is opened
  const int fd_;
};

}  // namespace

extern "C" {

svq_status svq_session_fork(svq_session* session, const svq_session_params* params, svq_session** out) {
  return guard([&] {
    require(out != nullptr, "out is NULL");
    *out = nullptr;
    require(session != nullptr, "session is NULL");
    *out = new svq_session(session->session, params == nullptr ? SessionOptions() : params->options);
  });
}

svq_status svq_session_save(const svq_session* session, void* buffer, size_t* n) {
  return guard([&] {
    require(session != nullptr && n != nullptr, "session or n is NULL");
    const size_t room = buffer == nullptr ? 0 : *n;
    *n = session->session.state_bytes();
    if (*n > room) fail(SVQ_ERROR_BUFFER_TOO_SMALL, "the saved session takes ", *n, " bytes, the buffer holds ", room);
    session->session.save_state(static_cast<uint8_t*>(buffer));
  });
}

svq_status svq_session_restore(svq_session* session, const void* data, size_t n) {
  return guard([&] {
    require(session != nullptr && data != nullptr, "session or data is NULL");
    session->session.restore_state({static_cast<const uint8_t*>(data), n}, "the saved session");
  });
}

svq_status svq_session_save_file(const svq_session* session, const char* path) {
  return guard([&] {
    require(session != nullptr && path != nullptr, "session or path is NULL");
    NewFile file(path);
    StateHeader header;
    uint64_t at = sizeof header;
    session->session.save_state(
        [&](const uint8_t* data, uint64_t bytes) {
          file.write(at, data, bytes);
          at += bytes;
        },
        &header);
    file.write(0, &header, sizeof header);
    file.finish();
  });
}

svq_status svq_session_restore_file(svq_session* session, const char* path) {
  return guard([&] {
    require(session != nullptr && path != nullptr, "session or path is NULL");
    const OldFile file(path);
    session->session.restore_state(
        StateSource{file.bytes(), [&](uint64_t at, uint8_t* to, uint64_t bytes) { file.read(at, to, bytes); }}, path);
  });
}

svq_status svq_session_set_limit(svq_session* session, svq_limit_parameter parameter, int64_t value) {
  return guard([&] {
    require(session != nullptr, "session is NULL");
    Limits& limits = session->session.pace().limits;
    constexpr int64_t kHour = int64_t{3600} * 1000 * 1000;
    const auto within = [&](int64_t low, int64_t high, const char* name) {
      if (value < low || value > high)
        fail(SVQ_ERROR_INVALID_ARGUMENT, name, " is ", value, ", expected ", low, " to ", high);
      return static_cast<uint64_t>(value);
    };
    switch (raw(parameter)) {
      case SVQ_LIMIT_DEADLINE_US:
        limits.deadline_us = within(0, 24 * kHour, "SVQ_LIMIT_DEADLINE_US");
        return;
      case SVQ_LIMIT_CANCEL_US:
        limits.bound_us = within(0, kHour, "SVQ_LIMIT_CANCEL_US");
        return;
      case SVQ_LIMIT_DUTY_PERCENT:
        limits.duty_percent = static_cast<uint32_t>(within(1, 100, "SVQ_LIMIT_DUTY_PERCENT"));
        return;
      case SVQ_LIMIT_DUTY_WINDOW_US:
        limits.duty_window_us = within(100, kHour, "SVQ_LIMIT_DUTY_WINDOW_US");
        return;
    }
    fail(SVQ_ERROR_INVALID_ARGUMENT, "unknown limit ", raw(parameter));
  });
}

}  // extern "C"
