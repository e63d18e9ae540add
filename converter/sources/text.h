// Text from untrusted files, made fit for one line of a message, a terminal and JSON.
#pragma once
#include <string>
#include <string_view>

namespace svq::convert {

// In double quotes; control characters and bytes outside ASCII become '?'; at most 80 characters.
inline std::string in_quotes(std::string_view text) {
  constexpr size_t kMax = 80;
  std::string result = "\"";
  for (char c : text.substr(0, kMax)) result += (c >= 0x20 && c < 0x7F) ? c : '?';
  if (text.size() > kMax) result += "...";
  return result + "\"";
}

// UTF-8 by RFC 3629: no overlong forms, no surrogates.
inline bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto byte = [&](size_t k) { return k < text.size() ? static_cast<unsigned char>(text[k]) : 0u; };
    const unsigned first = byte(i);
    const size_t length = first < 0x80                    ? 1
                          : first >= 0xC2 && first < 0xE0 ? 2
                          : first >= 0xE0 && first < 0xF0 ? 3
                          : first >= 0xF0 && first < 0xF5 ? 4
                                                          : 0;
    if (length == 0) return false;
    for (size_t k = 1; k < length; ++k) {
      if ((byte(i + k) & 0xC0) != 0x80) return false;
    }
    if (length > 2) {
      const unsigned second = byte(i + 1);
      if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second >= 0xA0) || (first == 0xF0 && second < 0x90) ||
          (first == 0xF4 && second >= 0x90)) {
        return false;
      }
    }
    i += length;
  }
  return true;
}

// Control characters become '?'; so do all bytes outside ASCII if the text is not UTF-8. Cut to `most` bytes.
inline std::string readable(std::string text, size_t most = 4000) {
  const bool keep = is_utf8(text);
  if (text.size() > most) {
    while (most > 0 && (static_cast<unsigned char>(text[most]) & 0xC0) == 0x80) --most;  // not inside a character
    text.resize(most);
  }
  for (char& c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F || (byte >= 0x80 && !keep)) c = '?';
  }
  return text;
}

}  // namespace svq::convert
