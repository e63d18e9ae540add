#include "runtime/tokenizer/normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "runtime/tokenizer/utf8.h"

namespace svq::rt {

bool is_plainly_nfc(std::string_view text) {
  // Below U+0300, which UTF-8 begins with byte 0xCC, every code point is a starter and composes with nothing before it.
  return std::all_of(text.begin(), text.end(), [](char c) {
    const auto b = static_cast<uint8_t>(c);
    return b < 0xCC;
  });
}

std::string to_nfc(std::string_view text) {
  std::vector<utf8proc_int32_t> points;
  points.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const std::string_view rest = text.substr(at);
    const size_t n = utf8_char(rest);
    if (n == 0) throw std::logic_error("to_nfc: not UTF-8");
    utf8proc_int32_t buffer[32];  // a canonical decomposition has at most 4 code points
    int boundary = 0;
    const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(utf8_code_point(rest, n)), buffer, 32,
                                               UTF8PROC_DECOMPOSE, &boundary);
    if (count < 0 || count > 32) throw std::runtime_error("utf8proc cannot decompose a character of the text");
    points.insert(points.end(), buffer, buffer + count);
    at += n;
  }
  // Canonical order: combining marks between two starters sorted by class. utf8proc_decompose does this by exchanging
  // neighbours, which is quadratic on a long run of marks; a stable sort is not.
  const auto combining_class = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (auto i = points.begin(); i != points.end();) {
    if (combining_class(*i) == 0) {
      ++i;
      continue;
    }
    const auto end = std::find_if(i, points.end(), [&](utf8proc_int32_t c) { return combining_class(c) == 0; });
    std::stable_sort(i, end,
                     [&](utf8proc_int32_t a, utf8proc_int32_t b) { return combining_class(a) < combining_class(b); });
    i = end;
  }
  const auto length = utf8proc_normalize_utf32(points.data(), static_cast<utf8proc_ssize_t>(points.size()),
                                               static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
  if (length < 0) throw std::runtime_error("utf8proc cannot compose the text");
  std::string out;
  out.reserve(text.size());
  for (utf8proc_ssize_t i = 0; i < length; ++i) {
    utf8proc_uint8_t bytes[4];
    const auto n = utf8proc_encode_char(points[static_cast<size_t>(i)], bytes);
    out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(n));
  }
  return out;
}

}  // namespace svq::rt
