// The runtime's one exception: a stable status and one sentence naming file, field and what was expected.
#pragma once
#include <exception>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "runtime/include/svqrt/svqrt.h"

namespace svq::rt {

class Error : public std::exception {
 public:
  Error(svq_status status, std::string message) : status_(status), message_(std::move(message)) {}
  svq_status status() const { return status_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  svq_status status_;
  std::string message_;
};

namespace detail {
inline void append(std::string& out, std::string_view text) { out += text; }
inline void append(std::string& out, char c) { out += c; }
template <class T>
requires std::is_arithmetic_v<T>
void append(std::string& out, T value) { out += std::to_string(value); }
}  // namespace detail

// Concatenation of texts and numbers (std::format is missing from GCC 11 and 12).
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

template <class... Parts>
[[noreturn]] void fail(svq_status status, const Parts&... parts) {
  throw Error(status, cat(parts...));
}

}  // namespace svq::rt
