// Cuts a stream of tokens' bytes into whole UTF-8 characters. Bytes that are no UTF-8 come out as U+FFFD.
#pragma once
#include <string>
#include <string_view>

namespace svq::rt {

class Utf8Stream {
 public:
  Utf8Stream() { out_.reserve(1024); }
  // The characters that these bytes complete; valid until the next call. An incomplete one is kept for later.
  std::string_view push(std::string_view bytes);
  void reset() { pending_.clear(); }

 private:
  std::string pending_;  // at most 3 bytes between two calls
  std::string out_;
};

}  // namespace svq::rt
