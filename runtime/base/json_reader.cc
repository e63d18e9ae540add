#include "runtime/base/json_reader.h"

#include <algorithm>

#include "runtime/base/error.h"
#include "runtime/tokenizer/utf8.h"

namespace svq::rt {
namespace {

constexpr int kMaxJsonDepth = 200;

class JsonReader {
 public:
  JsonReader(std::string_view text, const char* name, int status) : text_(text), name_(name), status_(status) {}

  JsonValue document() {
    JsonValue out = value(0);
    skip();
    if (at_ != text_.size()) error("something follows the end of the JSON text");
    return out;
  }

 private:
  [[noreturn]] void error(const char* what) const {
    fail(static_cast<svq_status>(status_), name_, ": byte ", at_, ": ", what);
  }
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r'))
      ++at_;
  }
  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    skip();
    if (peek() != c) return false;
    ++at_;
    return true;
  }

  JsonValue value(int depth) {
    if (depth > kMaxJsonDepth) error("nested deeper than 200");
    skip();
    JsonValue out;
    const char c = peek();
    if (c == '{') {
      ++at_;
      out.kind = JsonValue::Kind::kObject;
      if (take('}')) return out;
      do {
        skip();
        if (peek() != '"') error("a name in quotes was expected");
        std::string key = string();
        if (!take(':')) error("':' was expected");
        // A name that occurs again replaces what it meant before, as in most readers.
        const auto known =
            std::find_if(out.members.begin(), out.members.end(), [&](const auto& m) { return m.first == key; });
        if (known != out.members.end()) {
          known->second = value(depth + 1);
        } else {
          out.members.emplace_back(std::move(key), value(depth + 1));
        }
      } while (take(','));
      if (!take('}')) error("',' or '}' was expected");
    } else if (c == '[') {
      ++at_;
      out.kind = JsonValue::Kind::kArray;
      if (take(']')) return out;
      do {
        out.items.push_back(value(depth + 1));
      } while (take(','));
      if (!take(']')) error("',' or ']' was expected");
    } else if (c == '"') {
      out.kind = JsonValue::Kind::kString;
      out.text = string();
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      out.kind = JsonValue::Kind::kNumber;
      out.text = number();
    } else if (word("true") || word("false")) {
      out.kind = JsonValue::Kind::kBool;
      out.truth = text_[at_ - 2] == 'u';
    } else if (!word("null")) {
      error("a value was expected");
    }
    return out;
  }

  bool word(std::string_view w) {
    if (!text_.substr(at_).starts_with(w)) return false;
    at_ += w.size();
    return true;
  }

  std::string number() {
    const size_t begin = at_;
    const auto digits = [&] {
      if (peek() < '0' || peek() > '9') error("a digit was expected");
      while (peek() >= '0' && peek() <= '9') ++at_;
    };
    if (peek() == '-') ++at_;
    if (peek() == '0') {
      ++at_;
    } else {
      digits();
    }
    if (peek() == '.') ++at_, digits();
    if (peek() == 'e' || peek() == 'E') {
      ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    return std::string(text_.substr(begin, at_ - begin));
  }

  uint32_t hex4() {
    uint32_t out = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const int d = hex_digit(peek());
      if (d < 0) error("four hexadecimal digits were expected");
      out = out * 16 + static_cast<uint32_t>(d);
    }
    return out;
  }

  void escape(std::string& out) {
    const char c = peek();
    ++at_;
    static constexpr std::string_view kShort = "\"\\/bfnrt", kMeaning = "\"\\/\b\f\n\r\t";
    if (const size_t i = kShort.find(c); i != std::string_view::npos && c != '\0') {
      out += kMeaning[i];
      return;
    }
    if (c != 'u') error("unknown escape");
    uint32_t code = hex4();
    if (code >= 0xD800 && code <= 0xDBFF) {
      if (!word("\\u")) error("half of a surrogate pair");
      const uint32_t low = hex4();
      if (low < 0xDC00 || low > 0xDFFF) error("half of a surrogate pair");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    } else if (code >= 0xDC00 && code <= 0xDFFF) {
      error("half of a surrogate pair");
    }
    append_utf8(out, code);
  }

  std::string string() {
    ++at_;
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) error("a string does not end");
      const char c = text_[at_];
      if (c == '"') {
        ++at_;
        return out;
      }
      if (c == '\\') {
        ++at_;
        escape(out);
        continue;
      }
      if (static_cast<uint8_t>(c) < 0x20) error("a control character in a string");
      const size_t n = utf8_char(text_.substr(at_));
      if (n == 0) error("a character is not UTF-8");
      out += text_.substr(at_, n);
      at_ += n;
    }
  }

  const std::string_view text_;
  const char* const name_;
  const int status_;
  size_t at_ = 0;
};

void quote(std::string& out, std::string_view text) {
  out += '"';
  for (const char c : text) {
    static constexpr std::string_view kShort = "\"\\bfnrt", kMeaning = "\"\\\b\f\n\r\t";
    if (const size_t i = kMeaning.find(c); i != std::string_view::npos) {
      out += '\\';
      out += kShort[i];
    } else if (static_cast<uint8_t>(c) < 0x20) {
      static constexpr char kDigits[] = "0123456789abcdef";
      out += "\\u00";
      out += kDigits[static_cast<uint8_t>(c) >> 4];
      out += kDigits[c & 15];
    } else {
      out += c;
    }
  }
  out += '"';
}

void write(std::string& out, const JsonValue& v, JsonValue::Style style, int depth) {
  const bool array = v.kind == JsonValue::Kind::kArray;
  switch (v.kind) {
    case JsonValue::Kind::kNull:
      out += "null";
      return;
    case JsonValue::Kind::kBool:
      out += v.truth ? "true" : "false";
      return;
    case JsonValue::Kind::kNumber:
      out += v.text;
      return;
    case JsonValue::Kind::kString:
      quote(out, v.text);
      return;
    case JsonValue::Kind::kArray:
    case JsonValue::Kind::kObject:
      break;
  }
  const size_t n = array ? v.items.size() : v.members.size();
  const bool lines = style == JsonValue::Style::kIndented && n != 0;
  const auto line = [&](int at) {
    if (lines) out += '\n' + std::string(static_cast<size_t>(at) * 4, ' ');
  };
  out += array ? '[' : '{';
  for (size_t i = 0; i < n; ++i) {
    if (i != 0) out += style == JsonValue::Style::kSpaced ? ", " : ",";
    line(depth + 1);
    if (!array) {
      quote(out, v.members[i].first);
      out += style == JsonValue::Style::kCompact ? ":" : ": ";
    }
    write(out, array ? v.items[i] : v.members[i].second, style, depth + 1);
  }
  line(depth);
  out += array ? ']' : '}';
}

}  // namespace

const JsonValue* JsonValue::find(std::string_view key) const {
  for (const auto& [name, value] : members) {
    if (name == key) return &value;
  }
  return nullptr;
}

std::string JsonValue::dump(Style style) const {
  std::string out;
  write(out, *this, style, 0);
  return out;
}

JsonValue read_json(std::string_view text, const char* name, int status) {
  return JsonReader(text, name, status).document();
}

}  // namespace svq::rt
