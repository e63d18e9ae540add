// Names from untrusted files, made fit for one line of an error message.
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

}  // namespace svq::convert
