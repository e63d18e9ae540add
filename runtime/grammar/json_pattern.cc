// The regular expressions of JSON Schema (ECMA-262) as expressions over the characters of a JSON string.
#include <algorithm>
#include <array>
#include <cstdio>
#include <optional>

#include "runtime/base/error.h"
#include "runtime/grammar/code_points.h"
#include "runtime/grammar/json_schema.h"
#include "runtime/tokenizer/utf8.h"

namespace svq::rt {
namespace {

constexpr uint32_t kLast = 0xFFFF;    // complements stay in the first plane: beyond it, dialects count differently
constexpr uint64_t kMost = 10000;     // repetitions
constexpr int kMaxPatternDepth = 60;  // parentheses in parentheses

const CodePoints kDigits{{'0', '9'}};
const CodePoints kWord{{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}};
const CodePoints kSpace{{9, 13}, {' ', ' '}};  // written: what every dialect takes for white space
const CodePoints kAnySpace{{9, 13},          {' ', ' '},       {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
                           {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
const CodePoints kLineEnds{{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}};

// One character of the ranges, as JSON writes it between quotes. Empty: there is none.
std::string character(const CodePoints& ranges) {
  static constexpr std::pair<uint32_t, uint32_t> kPlain[] = {
      {0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x7E}, {0x80, 0xD7FF}, {0xE000, 0x10FFFF}};
  static constexpr std::pair<uint32_t, const char*> kEscaped[] = {
      {'"', "\"\\\\\\\"\""}, {'\\', "\"\\\\\\\\\""}, {'\n', "\"\\\\n\""}, {'\t', "\"\\\\t\""},
      {'\r', "\"\\\\r\""},   {'\b', "\"\\\\b\""},    {'\f', "\"\\\\f\""}};
  std::string plain, out;
  for (const auto& [low, high] : ranges) {
    for (const auto& [from, to] : kPlain) {
      const uint32_t a = std::max(low, from), b = std::min(high, to);
      if (a > b) continue;
      char text[32];
      std::snprintf(text, sizeof text, "\\U%08X-\\U%08X", a, b);
      plain += text;
    }
  }
  if (!plain.empty()) out = cat("[", plain, "]");
  for (const auto& [c, text] : kEscaped) {
    if (std::any_of(ranges.begin(), ranges.end(), [c = c](const auto& r) { return c >= r.first && c <= r.second; }))
      out += cat(out.empty() ? "" : " | ", text);
  }
  return out.empty() ? out : cat("(", out, ")");
}

uint64_t times(uint64_t a, uint64_t b) {
  return a == 0 || b == 0 ? 0 : a == kAnyLength || b == kAnyLength ? kAnyLength : a * b;
}
uint64_t plus(uint64_t a, uint64_t b) { return a == kAnyLength || b == kAnyLength ? kAnyLength : a + b; }
std::string repeated(uint64_t least, uint64_t most) {
  return cat("{", least, ",", most == kAnyLength ? std::string() : std::to_string(most), "}");
}

struct Item {  // unit{times_least, times_most}
  std::string unit;
  uint64_t least, most;              // characters of the unit
  uint64_t times_least, times_most;  // kAnyLength: no limit
};
struct Branch {
  bool from_start = false, to_end = false;
  std::vector<Item> items;
  std::string text() const {
    std::string out;
    for (const Item& i : items) {
      out += i.unit;
      if (i.times_least != 1 || i.times_most != 1) out += repeated(i.times_least, i.times_most);
      out += " ";
    }
    return out;
  }
  uint64_t least() const {
    uint64_t n = 0;
    for (const Item& i : items) n += i.least * i.times_least;
    return n;
  }
  uint64_t most() const {
    uint64_t n = 0;
    for (const Item& i : items) n = plus(n, times(i.most, i.times_most));
    return n;
  }
};

class PatternReader {
 public:
  PatternReader(std::string_view text, const std::function<void(const std::string&)>& refuse)
      : text_(text), refuse_(refuse) {}

  std::string expression(uint64_t low, uint64_t high) {
    std::vector<Branch> all = branches(0);
    if (at_ < text_.size()) unsupported("a closing parenthesis without an opening one");
    std::string out;
    for (Branch& b : all) {
      const auto one = fitted(b, low, high);
      if (one) out += cat(out.empty() ? "" : " | ", *one);
    }
    if (out.empty()) refuse_(cat("no text matches the pattern \"", text_, "\" within minLength and maxLength"));
    return cat("(", out, ")");
  }

 private:
  void unsupported(const std::string& what) const {
    refuse_(cat("the pattern \"", text_, "\" holds ", what, ", which is not supported"));
  }
  char peek(size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }

  // A branch's text with as many characters before or behind it as its open ends allow. Nothing: none is that long.
  std::optional<std::string> fitted(Branch& b, uint64_t low, uint64_t high) const {
    if (b.least() > high) return std::nullopt;
    // One repetition may be narrowed to what the limits leave.
    Item* loose = nullptr;
    for (Item& i : b.items) {
      if (i.times_least == i.times_most && i.least == i.most) continue;
      if (loose != nullptr || i.least != 1 || i.most != 1) {
        loose = nullptr;
        break;
      }
      loose = &i;
    }
    const bool open = !b.from_start || !b.to_end;
    if (loose != nullptr) {
      const uint64_t fixed = b.least() - loose->times_least;
      if (high != kAnyLength) loose->times_most = std::min(loose->times_most, high - fixed);
      if (!open && low > fixed) loose->times_least = std::max(loose->times_least, low - fixed);
      if (loose->times_least > loose->times_most) return std::nullopt;
    }
    const uint64_t least = b.least(), most = b.most();
    if ((high != kAnyLength && most > high) || (!open && least < low)) {
      if (!open && most < low) return std::nullopt;
      refuse_(cat("the pattern \"", text_, "\" beside minLength or maxLength is not supported: it also matches ",
                  most > high ? "longer" : "shorter", " texts"));
    }
    std::string out;
    const uint64_t missing = low > least ? low - least : 0, room = high == kAnyLength ? high : high - most;
    const bool in_front = b.to_end || (!b.from_start && high == kAnyLength);
    if (!b.from_start && in_front) out += cat("char", repeated(b.to_end ? missing : 0, room), " ");
    out += b.text();
    if (!b.to_end) out += cat("char", repeated(missing, room));
    return out.empty() ? std::string("\"\"") : out;
  }

  std::vector<Branch> branches(int depth) {
    if (depth > kMaxPatternDepth) unsupported("parentheses nested deeper than 60");
    std::vector<Branch> out;
    do {
      out.push_back(branch(depth));
    } while (take('|'));
    return out;
  }

  Branch branch(int depth) {
    Branch b;
    while (at_ < text_.size() && peek() != '|' && peek() != ')') {
      if (peek() == '^' || peek() == '$') {
        const bool start = peek() == '^';
        ++at_;
        const bool ends = at_ == text_.size() || peek() == '|';
        if (depth != 0 || (start ? !b.items.empty() || b.from_start : !ends)) unsupported("^ or $ in the middle");
        (start ? b.from_start : b.to_end) = true;
        continue;
      }
      b.items.push_back(item(depth));
    }
    return b;
  }

  Item item(int depth) {
    Item out{.unit = {}, .least = 1, .most = 1, .times_least = 1, .times_most = 1};
    if (take('(')) {
      if (take('?') && !take(':')) unsupported("a group that looks around or has a name");
      const auto inside = branches(depth + 1);
      if (!take(')')) unsupported("an opening parenthesis without a closing one");
      out.least = kAnyLength, out.most = 0;
      for (const Branch& b : inside) {
        out.unit += out.unit.empty() ? "(" : " | ";
        if (b.items.empty()) out.unit += "\"\"";
        out.unit += b.text();
        out.least = std::min(out.least, b.least());
        out.most = std::max(out.most, b.most());
      }
      out.unit += ")";
    } else {
      CodePoints one;
      if (take('[')) {
        one = bracketed();
      } else if (take('.')) {
        one = complement(kLineEnds, kLast);
      } else {
        one = single(false, false);
      }
      out.unit = character(one);
      if (out.unit.empty()) unsupported("a character that is not written in JSON strings");
    }
    quantifier(out);
    return out;
  }

  void quantifier(Item& out) {
    if (take('*')) {
      out.times_least = 0, out.times_most = kAnyLength;
    } else if (take('+')) {
      out.times_most = kAnyLength;
    } else if (take('?')) {
      out.times_least = 0;
    } else if (take('{')) {
      out.times_least = out.times_most = number();
      if (take(',')) out.times_most = peek() == '}' ? kAnyLength : number();
      if (!take('}') || out.times_least > out.times_most) unsupported("a { that begins no repetition");
    } else {
      return;
    }
    take('?');  // shortest first: the same texts
    if (peek() == '*' || peek() == '+' || peek() == '?' || peek() == '{') unsupported("a repetition of a repetition");
  }

  uint64_t number() {
    if (peek() < '0' || peek() > '9') unsupported("a { that begins no repetition");
    uint64_t n = 0;
    while (peek() >= '0' && peek() <= '9')
      n = std::min<uint64_t>(n * 10 + static_cast<uint64_t>(text_[at_++] - '0'), kMost + 1);
    if (n > kMost) unsupported("more than 10000 repetitions");
    return n;
  }

  CodePoints bracketed() {
    const bool negated = take('^');
    CodePoints out;
    while (peek() != ']') {
      if (at_ >= text_.size()) unsupported("an opening bracket without a closing one");
      CodePoints low = single(true, negated);
      const bool plain = low.size() == 1 && low[0].first == low[0].second;
      if (peek() == '-' && at_ + 1 < text_.size() && peek(1) != ']') {
        ++at_;
        const CodePoints high = single(true, negated);
        if (!plain || high.size() != 1 || high[0].first != high[0].second || high[0].first < low[0].first)
          unsupported("a range in brackets that is none");
        low[0].second = high[0].first;
      }
      out.insert(out.end(), low.begin(), low.end());
    }
    ++at_;
    return negated ? complement(out, kLast) : out;
  }

  // negated: the brackets around it exclude what they name.
  CodePoints single(bool in_brackets, bool negated) {
    const auto one = [](uint32_t c) { return CodePoints{{c, c}}; };
    if (!take('\\')) {
      const std::string_view rest = text_.substr(at_);
      const size_t n = utf8_char(rest);
      if (n == 0) unsupported("what is not UTF-8");
      if (!in_brackets && std::string_view("*+?{}]").find(rest[0]) != std::string_view::npos)
        unsupported(cat("a ", rest.substr(0, 1), " without anything before it"));
      at_ += n;
      return one(utf8_code_point(rest, n));
    }
    const char c = peek();
    ++at_;
    switch (c) {
      case 'd':
        return kDigits;
      case 'D':
        return complement(kDigits, kLast);
      case 'w':
        return kWord;
      case 'W':
        return complement(kWord, kLast);
      case 's':
        return negated ? kAnySpace : kSpace;
      case 'S':
        return negated ? complement(kSpace, kLast) : complement(kAnySpace, kLast);
      case 'n':
        return one('\n');
      case 't':
        return one('\t');
      case 'r':
        return one('\r');
      case 'f':
        return one('\f');
      case 'v':
        return one('\v');
      case 'x':
        return one(hex(2));
      case 'u':
        return one(hex(4));
      case 'b':
        if (in_brackets) return one('\b');
        [[fallthrough]];
      default:
        break;
    }
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '\0' || (c & 0x80) != 0)
      unsupported(cat("the escape \\", c == '\0' ? std::string() : std::string(1, c)));
    return one(static_cast<uint32_t>(c));
  }

  uint32_t hex(int digits) {
    uint32_t out = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const int d = hex_digit(peek());
      if (d < 0) unsupported("an escape without its hexadecimal digits");
      out = out * 16 + static_cast<uint32_t>(d);
    }
    if (out >= 0xD800 && out <= 0xDFFF) unsupported("half a character");
    return out;
  }

  const std::string_view text_;
  const std::function<void(const std::string&)>& refuse_;
  size_t at_ = 0;
};

}  // namespace

std::string pattern_expression(std::string_view pattern, uint64_t low, uint64_t high,
                               const std::function<void(const std::string&)>& refuse) {
  return PatternReader(pattern, refuse).expression(low, high);
}

}  // namespace svq::rt
