// Version, status, last error, log.
#include <cstring>

#include "runtime/api/guard.h"
#include "runtime/base/log.h"
#include "schema/container.h"

namespace svq::rt {
namespace {
thread_local char last_error[1024];
}  // namespace

void set_last_error(const char* message) noexcept {
  size_t n = std::strlen(message);
  if (n >= sizeof last_error) {
    n = sizeof last_error - 1;
    while (n > 0 && (static_cast<unsigned char>(message[n]) & 0xC0) == 0x80) --n;  // not inside a UTF-8 character
  }
  std::memmove(last_error, message, n);
  last_error[n] = '\0';
}
}  // namespace svq::rt

#define SVQ_STRING_(x) #x
#define SVQ_STRING(x) SVQ_STRING_(x)

extern "C" {

uint32_t svq_version_number(void) { return SVQ_VERSION_NUMBER; }
const char* svq_version_string(void) {
  return SVQ_STRING(SVQ_VERSION_MAJOR) "." SVQ_STRING(SVQ_VERSION_MINOR) "." SVQ_STRING(SVQ_VERSION_PATCH);
}
uint32_t svq_format_version(void) { return uint32_t{svq::format::kMajor} * 65536 + svq::format::kMinor; }

const char* svq_status_name(svq_status status) {
  switch (svq::rt::raw(status)) {
    case SVQ_OK:
      return "SVQ_OK";
    case SVQ_ERROR_INVALID_ARGUMENT:
      return "SVQ_ERROR_INVALID_ARGUMENT";
    case SVQ_ERROR_IO:
      return "SVQ_ERROR_IO";
    case SVQ_ERROR_FORMAT:
      return "SVQ_ERROR_FORMAT";
    case SVQ_ERROR_VERSION:
      return "SVQ_ERROR_VERSION";
    case SVQ_ERROR_CHECKSUM:
      return "SVQ_ERROR_CHECKSUM";
    case SVQ_ERROR_UNSUPPORTED:
      return "SVQ_ERROR_UNSUPPORTED";
    case SVQ_ERROR_OUT_OF_MEMORY:
      return "SVQ_ERROR_OUT_OF_MEMORY";
    case SVQ_ERROR_CONTEXT_FULL:
      return "SVQ_ERROR_CONTEXT_FULL";
    case SVQ_ERROR_CANCELLED:
      return "SVQ_ERROR_CANCELLED";
    case SVQ_ERROR_BUFFER_TOO_SMALL:
      return "SVQ_ERROR_BUFFER_TOO_SMALL";
    case SVQ_ERROR_STATE:
      return "SVQ_ERROR_STATE";
    case SVQ_ERROR_NO_TOKENIZER:
      return "SVQ_ERROR_NO_TOKENIZER";
    case SVQ_ERROR_INTERNAL:
      return "SVQ_ERROR_INTERNAL";
    case SVQ_ERROR_DEADLINE:
      return "SVQ_ERROR_DEADLINE";
    case SVQ_ERROR_MISMATCH:
      return "SVQ_ERROR_MISMATCH";
    case SVQ_ERROR_GRAMMAR:
      return "SVQ_ERROR_GRAMMAR";
  }
  return "SVQ_ERROR_UNKNOWN";
}

const char* svq_last_error(void) { return svq::rt::last_error; }

void svq_set_log(svq_log_fn fn, void* user) {
  svq::rt::guard([&] { svq::rt::set_log(fn, user); });
}

}  // extern "C"
