// Multiples of a number as expressions over their digits: what the digits written so far leave to be written depends on
// their remainder alone.
#include <algorithm>
#include <map>
#include <vector>

#include "runtime/base/error.h"
#include "runtime/grammar/json_schema.h"

namespace svq::rt {
namespace {

uint64_t power(uint32_t n) {
  uint64_t out = 1;
  while (n-- > 0) out *= 10;
  return out;
}

}  // namespace

// Rules for the free digits: `left` of them, that together with `rest` make 0 modulo the step.
class SchemaRules::Multiples {
 public:
  Multiples(SchemaRules& rules, uint64_t step, uint32_t decimals, const std::string& at)
      : rules_(rules), step_(step), decimals_(decimals), at_(at) {}

  // Numbers from low to high, in units of the last decimal. Empty: there are none.
  std::string between(uint64_t low, uint64_t high) {
    std::string out;
    for (uint32_t n = decimals_ + 1; n <= 18; ++n) {
      const uint64_t first = std::max(low, n == decimals_ + 1 ? 0 : power(n - 1)), last = std::min(high, power(n) - 1);
      if (first > last) continue;
      const std::string one = bounded(digits(first, n), digits(last, n), n, 0, true, true);
      if (one != kNone) out += cat(out.empty() ? "" : " | ", one);
    }
    return out.empty() ? out : cat("(", out, ")");
  }

 private:
  static constexpr char kNone[] = "-";
  static constexpr size_t kMostRules = 8'000;  // each makes some 25 states, and a grammar has 200,000 at most

  static std::string digits(uint64_t n, uint32_t count) {
    std::string out = std::to_string(n);
    return std::string(count - out.size(), '0') + out;
  }
  std::string point(uint32_t left) const { return left == decimals_ && left > 0 ? "\".\" " : ""; }
  // Zeros at the end of a fraction need not be written.
  std::string ended(const std::string& body, uint32_t left, bool may_end) const {
    const std::string whole = cat("(", point(left), body, ")");
    return may_end && left > 0 && left <= decimals_ ? whole + "?" : whole;
  }

  template <class Next>
  std::string by_digit(char from, char to, const Next& next) {
    std::vector<std::string> rest;
    for (char c = from; c <= to; ++c) rest.push_back(next(c));
    std::string out;
    for (size_t i = 0, end; i < rest.size(); i = end) {  // digits that go on alike are one class
      for (end = i + 1; end < rest.size() && rest[end] == rest[i];) ++end;
      if (rest[i] == kNone) continue;
      out += cat(out.empty() ? "[" : " | [", static_cast<char>(from + static_cast<char>(i)), "-",
                 static_cast<char>(from + static_cast<char>(end - 1)), "] ", rest[i]);
    }
    return out;
  }

  std::string free(uint64_t rest, uint32_t left) {
    if ((step_ - rest) % step_ >= power(left)) return kNone;  // the least number that would do is longer
    if (left == 0) return "";
    if (const auto known = free_.find({rest, left}); known != free_.end()) return known->second;
    if (free_.size() == kMostRules) {
      rules_.refuse(at_, "\"multipleOf\" over so wide a range needs too large a grammar: narrower bounds may do");
    }
    const std::string body = by_digit('0', '9', [&](char c) { return free(after(rest, c, left), left - 1); });
    const std::string name = rules_.add(ended(cat("(", body, ")"), left, rest == 0));
    free_[{rest, left}] = name;
    return name;
  }

  uint64_t after(uint64_t rest, char c, uint32_t left) const {
    return (rest + static_cast<uint64_t>(c - '0') * (power(left - 1) % step_)) % step_;
  }

  // tight: the digits so far are those of the bound.
  std::string bounded(const std::string& low, const std::string& high, uint32_t left, uint64_t rest, bool tight_low,
                      bool tight_high) {
    if (!tight_low && !tight_high) return free(rest, left);
    if (left == 0) return rest == 0 ? "" : kNone;
    const size_t at = low.size() - left;
    const char from = tight_low ? low[at] : '0', to = tight_high ? high[at] : '9';
    const std::string body = by_digit(from, to, [&](char c) {
      return bounded(low, high, left - 1, after(rest, c, left), tight_low && c == from, tight_high && c == to);
    });
    if (body.empty()) return kNone;
    const bool zeros = !tight_low || low.find_first_not_of('0', at) == std::string::npos;
    return ended(cat("(", body, ")"), left, rest == 0 && zeros);
  }

  SchemaRules& rules_;
  const uint64_t step_;
  const uint32_t decimals_;
  const std::string& at_;
  std::map<std::pair<uint64_t, uint32_t>, std::string> free_;
};

std::string SchemaRules::multiples(uint64_t step, uint32_t decimals, double from, double to, const std::string& at) {
  Multiples all(*this, step, decimals, at);
  std::string body;
  if (from < 0) {
    const auto low = static_cast<uint64_t>(std::max(to < 0 ? -to : 1.0, 1.0));
    const std::string negative = all.between(low, static_cast<uint64_t>(-from));
    if (!negative.empty()) body = cat("\"-\" ", negative);
  }
  if (to >= 0) {
    const std::string positive = all.between(static_cast<uint64_t>(std::max(from, 0.0)), static_cast<uint64_t>(to));
    if (!positive.empty()) body += cat(body.empty() ? "" : " | ", positive);
  }
  return body;
}

}  // namespace svq::rt
