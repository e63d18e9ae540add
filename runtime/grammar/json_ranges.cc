// Ranges of numbers as expressions over their digits.
#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/grammar/json_schema.h"

namespace svq::rt {
namespace {

constexpr size_t kMoreDigits = 6;  // of a fraction, where any are allowed

std::string digit(char low, char high) {
  if (low > high) return {};
  return low == high ? cat("\"", low, "\"") : cat("[", low, "-", high, "]");
}
char up(char c) { return static_cast<char>(c + 1); }
char down(char c) { return static_cast<char>(c - 1); }

// Joins the alternatives that are not empty.
std::string either(std::initializer_list<std::string> alternatives) {
  std::string out;
  for (const std::string& a : alternatives) {
    if (!a.empty()) out += out.empty() ? a : cat(" | ", a);
  }
  return out.find(" | ") == std::string::npos ? out : cat("(", out, ")");
}
std::string then(const std::string& first, const std::string& rest) {
  return first.empty() ? std::string() : rest.empty() ? first : cat(first, " ", rest);
}
std::string any(size_t digits) { return digits == 0 ? std::string() : cat("[0-9]{", digits, "}"); }

// Strings of digits as long as s, not below or not above it.
std::string at_least(std::string_view s) {
  if (s.empty()) return {};
  if (s.find_first_not_of('0') == std::string_view::npos) return any(s.size());
  return either({then(digit(s[0], s[0]), at_least(s.substr(1))), then(digit(up(s[0]), '9'), any(s.size() - 1))});
}
std::string at_most(std::string_view s) {
  if (s.empty()) return {};
  if (s.find_first_not_of('9') == std::string_view::npos) return any(s.size());
  return either({s[0] == '0' ? std::string() : then(digit('0', down(s[0])), any(s.size() - 1)),
                 then(digit(s[0], s[0]), at_most(s.substr(1)))});
}
std::string same_length(std::string_view a, std::string_view b) {
  if (a.empty()) return {};
  if (a[0] == b[0]) return then(digit(a[0], a[0]), same_length(a.substr(1), b.substr(1)));
  return either({then(digit(a[0], a[0]), at_least(a.substr(1))), then(digit(up(a[0]), down(b[0])), any(a.size() - 1)),
                 then(digit(b[0], b[0]), at_most(b.substr(1)))});
}

// Behind the point. more: any digits may follow. Fractions are compared as if zeros followed without end.
const std::string kMore = cat("[0-9]{0,", kMoreDigits, "}");
std::string trimmed(std::string s) {
  while (!s.empty() && s.back() == '0') s.pop_back();
  return s;
}
std::string fraction_at_least(std::string_view s) {  // s without zeros at its end
  if (s.empty()) return kMore;
  return either({then(digit(s[0], s[0]), fraction_at_least(s.substr(1))), then(digit(up(s[0]), '9'), kMore)});
}
std::string fraction_at_most(std::string_view s) {
  if (s.empty()) return cat("\"0\"{0,", kMoreDigits, "}");
  const std::string rest = fraction_at_most(s.substr(1));
  return either({s[0] == '0' ? std::string() : then(digit('0', down(s[0])), kMore),
                 then(digit(s[0], s[0]), cat("(", rest, ")?"))});
}
std::string fraction_between(std::string_view a, std::string_view b) {  // of one length, a < b
  if (a[0] == b[0]) return then(digit(a[0], a[0]), fraction_between(a.substr(1), b.substr(1)));
  return either({then(digit(a[0], a[0]), fraction_at_least(trimmed(std::string(a.substr(1))))),
                 then(digit(up(a[0]), down(b[0])), kMore),
                 then(digit(b[0], b[0]), cat("(", fraction_at_most(trimmed(std::string(b.substr(1)))), ")?"))});
}
std::string six(uint64_t millionths) {
  const std::string s = std::to_string(millionths);
  return std::string(6 - s.size(), '0') + s;
}

}  // namespace

std::string digits_between(uint64_t low, uint64_t high) {
  std::string out;
  while (low <= high) {
    const std::string a = std::to_string(low);
    uint64_t end = 9;  // the largest number as long as low
    while (std::to_string(end).size() < a.size()) end = end * 10 + 9;
    end = std::min(end, high);
    out += (out.empty() ? "" : " | ") + same_length(a, std::to_string(end));
    low = end + 1;
  }
  return cat("(", out, ")");
}

std::string decimals_between(uint64_t low, uint64_t high) {
  constexpr uint64_t kOne = 1'000'000;
  const uint64_t a = low / kOne, b = high / kOne;
  const std::string from = six(low % kOne), to = six(high % kOne);
  const auto whole = [](uint64_t n) { return cat("\"", n, "\""); };
  const auto with_point = [&](uint64_t n, const std::string& fraction, bool alone) {
    return alone ? cat(whole(n), " (\".\" ", fraction, ")?") : cat(whole(n), " \".\" ", fraction);
  };
  // A fraction has a digit at least.
  const auto at_least_one = [&](const std::string& trimmed_from) {
    return trimmed_from.empty() ? cat("[0-9]{1,", kMoreDigits, "}") : fraction_at_least(trimmed_from);
  };
  const auto at_most_one = [&](const std::string& trimmed_to) {
    return trimmed_to.empty() ? cat("\"0\"{1,", kMoreDigits, "}") : fraction_at_most(trimmed_to);
  };
  if (a == b) {
    if (from == to) return with_point(a, cat("\"", from, "\""), from == "000000");
    return with_point(a, fraction_between(from, to), from == "000000");
  }
  std::string out = with_point(a, at_least_one(trimmed(from)), from == "000000");
  if (b - a > 1) out += cat(" | ", digits_between(a + 1, b - 1), " (\".\" [0-9]{1,", kMoreDigits, "})?");
  out += cat(" | ", with_point(b, at_most_one(trimmed(to)), true));
  return cat("(", out, ")");
}

}  // namespace svq::rt
