// Sessions forked, saved and restored; their limits.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/api/guard.h"

using namespace svq::rt;

namespace {

// Under a temporary name first: a reader sees the whole file or none.
void write_whole(const std::string& path, const std::vector<uint8_t>& bytes) {
  const std::string temporary = path + ".tmp" + std::to_string(getpid());
  const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) fail(SVQ_ERROR_IO, temporary, ": cannot be created: ", std::strerror(errno));
  const auto give_up = [&](const char* what) {
    const int error = errno;
    close(fd);
    unlink(temporary.c_str());
    fail(SVQ_ERROR_IO, temporary, ": cannot be ", what, ": ", std::strerror(error));
  };
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) give_up("written");
    done += static_cast<size_t>(n);
  }
  if (fsync(fd) != 0) give_up("synced");
  close(fd);
  if (std::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(temporary.c_str());
    fail(SVQ_ERROR_IO, path, ": cannot be replaced: ", std::strerror(error));
  }
}

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
    std::vector<uint8_t> bytes(session->session.state_bytes());
    session->session.save_state(bytes.data());
    write_whole(path, bytes);
  });
}

svq_status svq_session_restore_file(svq_session* session, const char* path) {
  return guard([&] {
    require(session != nullptr && path != nullptr, "session or path is NULL");
    const MemoryMap map = MemoryMap::file(path);
    // A copy: what was checked must not change before it is used.
    const std::unique_ptr<uint8_t[]> copy(new uint8_t[map.size()]);
    if (map.size() != 0) std::memcpy(copy.get(), map.data(), map.size());
    session->session.restore_state({copy.get(), map.size()}, path);
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
