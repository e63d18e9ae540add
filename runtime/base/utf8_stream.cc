#include "runtime/base/utf8_stream.h"

namespace svq::rt {
namespace {

// Examines the character at the start of a non-empty text (RFC 3629, table in section 4). length: bytes it has, or for
// an invalid one the bytes to replace. complete is false when the text ends inside a character that is valid so far.
struct Character {
  size_t length;
  bool valid, complete;
};
Character examine(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return {1, true, true};
  const size_t length = first >= 0xC2 && first <= 0xDF   ? 2
                        : first >= 0xE0 && first <= 0xEF ? 3
                        : first >= 0xF0 && first <= 0xF4 ? 4
                                                         : 0;
  if (length == 0) return {1, false, true};
  for (size_t i = 1; i < length; ++i) {
    if (i == s.size()) return {i, true, false};
    unsigned char low = 0x80, high = 0xBF;
    if (i == 1) {  // no overlong forms, surrogates, or values past U+10FFFF
      if (first == 0xE0) low = 0xA0;
      if (first == 0xED) high = 0x9F;
      if (first == 0xF0) low = 0x90;
      if (first == 0xF4) high = 0x8F;
    }
    if (byte(i) < low || byte(i) > high) return {i, false, true};
  }
  return {length, true, true};
}

}  // namespace

std::string_view Utf8Stream::push(std::string_view bytes) {
  out_.clear();
  pending_ += bytes;
  std::string_view rest = pending_;
  while (!rest.empty()) {
    const Character c = examine(rest);
    if (!c.complete) break;
    if (c.valid) {
      out_ += rest.substr(0, c.length);
    } else {
      out_ += "\xEF\xBF\xBD";
    }
    rest.remove_prefix(c.length);
  }
  pending_.erase(0, pending_.size() - rest.size());
  return out_;
}

}  // namespace svq::rt
