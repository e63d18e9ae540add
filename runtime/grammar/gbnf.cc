// Text of a grammar to its parse tree.
#include <algorithm>
#include <unordered_map>

#include "runtime/base/error.h"
#include "runtime/grammar/syntax.h"
#include "runtime/tokenizer/utf8.h"

namespace svq::rt {
namespace {

constexpr uint32_t kLastCodePoint = 0x10FFFF;
constexpr int kMaxGroupDepth = 200;     // parentheses in parentheses
constexpr uint32_t kMaxRepeat = 10000;  // what {m,n} may name

// Ascending, disjoint, without surrogates, which UTF-8 cannot write.
CodePoints normalised(CodePoints in) {
  std::sort(in.begin(), in.end());
  CodePoints merged, out;
  for (const auto& r : in) {
    if (!merged.empty() && r.first <= merged.back().second + 1) {
      merged.back().second = std::max(merged.back().second, r.second);
    } else {
      merged.push_back(r);
    }
  }
  for (const auto& [low, high] : merged) {
    if (low < 0xD800) out.emplace_back(low, std::min(high, 0xD7FFu));
    if (high > 0xDFFF) out.emplace_back(std::max(low, 0xE000u), high);
  }
  return out;
}

// What no range holds, without surrogates.
CodePoints all_but(CodePoints ranges) { return normalised(complement(std::move(ranges), kLastCodePoint)); }

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Automaton parse() {
    for (skip(); at_ < text_.size(); skip()) {
      const std::string_view name = identifier();
      if (name.empty() || !starts_with("::=")) error("a rule was expected: name ::= …");
      at_ += 3;
      const uint32_t rule = rule_index(name);
      if (defined_[rule]) error(cat("the rule \"", name, "\" is defined twice"));
      defined_[rule] = true;
      Syntax body = choice(0);  // may add rules
      rules_[rule].body = std::move(body);
    }
    for (size_t i = 0; i < rules_.size(); ++i) {
      if (!defined_[i]) fail(SVQ_ERROR_GRAMMAR, "grammar: the rule \"", rules_[i].name, "\" is used but not defined");
    }
    const auto root = index_.find("root");
    if (root == index_.end()) fail(SVQ_ERROR_GRAMMAR, "grammar: there is no rule \"root\"");
    return build_automaton(rules_, root->second, specials_);
  }

 private:
  [[noreturn]] void error(const std::string& what) const {
    const auto line =
        1 + std::count(text_.begin(), text_.begin() + static_cast<ptrdiff_t>(std::min(at_, text_.size())), '\n');
    fail(SVQ_ERROR_GRAMMAR, "grammar, line ", line, ": ", what);
  }

  bool starts_with(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip() {  // white space and comments; a new line means nothing by itself
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '#') {
        while (at_ < text_.size() && text_[at_] != '\n') ++at_;
      } else if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
        ++at_;
      } else {
        break;
      }
    }
  }

  std::string_view identifier() {
    const size_t begin = at_;
    const auto word = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    };
    while (at_ < text_.size() && word(text_[at_])) ++at_;
    const std::string_view name = text_.substr(begin, at_ - begin);
    skip();
    return name;
  }

  uint32_t rule_index(std::string_view name) {
    const auto [it, added] = index_.try_emplace(std::string(name), static_cast<uint32_t>(rules_.size()));
    if (added) {
      rules_.push_back({it->first, {}});
      defined_.push_back(false);
    }
    return it->second;
  }

  // The code point at at_, an escape if there is one.
  uint32_t character() {
    if (at_ >= text_.size()) error("the text ends inside quotes or brackets");
    if (text_[at_] != '\\') {
      const std::string_view rest = text_.substr(at_);
      const size_t n = utf8_char(rest);
      if (n == 0) error("a character is not UTF-8");
      const uint32_t c = utf8_code_point(rest, n);
      at_ += n;
      return c;
    }
    const char e = at_ + 1 < text_.size() ? text_[at_ + 1] : '\0';
    at_ += 2;
    switch (e) {
      case 'n':
        return '\n';
      case 'r':
        return '\r';
      case 't':
        return '\t';
      case '\\':
      case '"':
      case '[':
      case ']':
      case '-':
      case '^':
        return static_cast<uint32_t>(e);
      case 'x':
        return hex(2);
      case 'u':
        return hex(4);
      case 'U':
        return hex(8);
      default:
        error("unknown escape; \\n \\r \\t \\\\ \\\" \\[ \\] \\xHH \\uHHHH \\UHHHHHHHH were expected");
    }
  }

  uint32_t hex(int digits) {
    uint32_t out = 0;
    for (int i = 0; i < digits; ++i, ++at_) {
      const int d = hex_digit(peek());
      if (d < 0) error("a hexadecimal digit was expected");
      out = out * 16 + static_cast<uint32_t>(d);
    }
    if (out > kLastCodePoint || (out >= 0xD800 && out <= 0xDFFF)) error("an escape names no Unicode character");
    return out;
  }

  Syntax literal() {
    ++at_;
    Syntax out{.kind = Syntax::Kind::kLiteral, .literal = {}, .ranges = {}, .children = {}};
    while (peek() != '"') append_utf8(out.literal, character());
    ++at_;
    return out;
  }

  Syntax character_class() {
    ++at_;
    const bool negated = peek() == '^';
    if (negated) ++at_;
    CodePoints ranges;
    while (peek() != ']') {
      const uint32_t low = character();
      uint32_t high = low;
      if (peek() == '-' && at_ + 1 < text_.size() && text_[at_ + 1] != ']') {
        ++at_;
        high = character();
        if (high < low) error("a range in brackets runs backwards");
      }
      ranges.emplace_back(low, high);
    }
    ++at_;
    ranges = normalised(ranges);
    if (negated) ranges = all_but(std::move(ranges));
    if (ranges.empty()) error("brackets that hold no character");
    return {.kind = Syntax::Kind::kClass, .literal = {}, .ranges = std::move(ranges), .children = {}};
  }

  Syntax special() {
    at_ += 2;
    const uint32_t id = number();
    if (!starts_with("]>")) error("<[id]> was expected");
    at_ += 2;
    const auto found = std::find(specials_.begin(), specials_.end(), static_cast<int32_t>(id));
    const auto index = static_cast<uint32_t>(found - specials_.begin());
    if (found == specials_.end()) {
      if (specials_.size() == kMaxSpecials) error("more than 8 different special tokens");
      specials_.push_back(static_cast<int32_t>(id));
    }
    return {.kind = Syntax::Kind::kSpecial, .literal = {}, .ranges = {}, .index = index, .children = {}};
  }

  uint32_t number() {
    if (peek() < '0' || peek() > '9') error("a number was expected");
    uint64_t n = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_)
      n = std::min<uint64_t>(n * 10 + static_cast<uint64_t>(peek() - '0'), INT32_MAX);
    return static_cast<uint32_t>(n);
  }

  void repetition(Syntax& item) {
    uint32_t least = 0, most = kNoLimit;
    switch (peek()) {
      case '*':
        break;
      case '+':
        least = 1;
        break;
      case '?':
        most = 1;
        break;
      case '{': {
        ++at_;
        skip();
        least = most = number();
        skip();
        if (peek() == ',') {
          ++at_;
          skip();
          most = peek() == '}' ? kNoLimit : number();
          skip();
        }
        if (peek() != '}' || most < least) error("{m}, {m,} or {m,n} was expected");
        if (least > kMaxRepeat || (most != kNoLimit && most > kMaxRepeat)) error("more than 10000 repetitions");
        break;
      }
      default:
        return;
    }
    ++at_;
    skip();
    Syntax out{
        .kind = Syntax::Kind::kRepeat, .literal = {}, .ranges = {}, .children = {}, .least = least, .most = most};
    out.children.push_back(std::move(item));
    item = std::move(out);
    repetition(item);  // (a*)? without parentheses
  }

  // Whether a new rule begins here rather than another item.
  bool at_rule() {
    const size_t begin = at_;
    const bool rule = !identifier().empty() && starts_with("::=");
    at_ = begin;
    return rule;
  }

  Syntax sequence(int depth) {
    Syntax out{.kind = Syntax::Kind::kSequence, .literal = {}, .ranges = {}, .children = {}};
    for (skip(); at_ < text_.size(); skip()) {
      const char c = peek();
      Syntax item{.kind = Syntax::Kind::kSequence, .literal = {}, .ranges = {}, .children = {}};
      if (c == '"') {
        item = literal();
      } else if (c == '[') {
        item = character_class();
      } else if (c == '.') {
        ++at_;
        item = {.kind = Syntax::Kind::kClass, .literal = {}, .ranges = all_but({}), .children = {}};
      } else if (c == '(') {
        ++at_;
        item = choice(depth + 1);
        if (peek() != ')') error("a closing parenthesis is missing");
        ++at_;
      } else if (starts_with("<[")) {
        item = special();
      } else if (c == '|' || c == ')' || at_rule()) {
        break;
      } else {
        const std::string_view name = identifier();
        if (name.empty()) error(cat("the character '", c, "' was not expected"));
        item = {.kind = Syntax::Kind::kRule, .literal = {}, .ranges = {}, .index = rule_index(name), .children = {}};
      }
      skip();
      repetition(item);
      out.children.push_back(std::move(item));
    }
    return out;
  }

  Syntax choice(int depth) {
    if (depth > kMaxGroupDepth) error("parentheses are nested deeper than 200");
    Syntax out{.kind = Syntax::Kind::kChoice, .literal = {}, .ranges = {}, .children = {}};
    skip();
    for (;;) {
      out.children.push_back(sequence(depth));
      if (peek() != '|') break;
      ++at_;
    }
    return out;
  }

  const std::string_view text_;
  size_t at_ = 0;
  std::vector<SyntaxRule> rules_;
  std::vector<bool> defined_;
  std::unordered_map<std::string, uint32_t> index_;
  std::vector<int32_t> specials_;
};

}  // namespace

Automaton parse_gbnf(std::string_view text) { return Parser(text).parse(); }

}  // namespace svq::rt
