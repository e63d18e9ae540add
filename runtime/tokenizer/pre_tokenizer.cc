#include "runtime/tokenizer/pre_tokenizer.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <stdexcept>
#include <string>

#include "runtime/tokenizer/utf8.h"

namespace svq::rt {
namespace {

// The members of Unicode's White_Space, to stand inside a character class: PCRE2's own \s has U+180E too, which the
// models' tokenizers do not count.
#define SPACE R"(\x{9}-\x{D} \x{85}\x{A0}\x{1680}\x{2000}-\x{200A}\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})"

// The expressions published with each family's tokenizer, with \s spelt out.
// GPT-2: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
constexpr const char* kGpt2 = R"('(?:[stmd]|re|ve|ll)| ?\p{L}+| ?\p{N}+| ?[^)" SPACE R"(\p{L}\p{N}]+|[)" SPACE
                              R"(]+(?![^)" SPACE R"(])|[)" SPACE R"(]+)";
// SmolLM: every digit by itself, then GPT-2's expression on what stands between digits: there a digit is the text's
// end.
constexpr const char* kSmollm = R"(\p{N}|'(?:[stmd]|re|ve|ll)| ?\p{L}+| ?[^)" SPACE R"(\p{L}\p{N}]+|[)" SPACE
                                R"(]+(?![^)" SPACE R"(\p{N}])|[)" SPACE R"(]+)";
// Llama 3: (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|
// \s+(?!\S)|\s+. Qwen2: the same with \p{N} instead of \p{N}{1,3}.
#define TIKTOKEN(DIGITS)                                                                                            \
  R"((?i:'(?:[stmd]|re|ve|ll))|[^\r\n\p{L}\p{N}]?\p{L}+|)" DIGITS R"(| ?[^)" SPACE R"(\p{L}\p{N}]+[\r\n]*|[)" SPACE \
  R"(]*[\r\n]+|[)" SPACE R"(]+(?![^)" SPACE R"(])|[)" SPACE R"(]+)"
constexpr const char* kLlama3 = TIKTOKEN(R"(\p{N}{1,3})");
constexpr const char* kQwen2 = TIKTOKEN(R"(\p{N})");

const char* expression(fb::PreTokenizer kind) {
  switch (kind) {
    case fb::PreTokenizer::Gpt2:
      return kGpt2;
    case fb::PreTokenizer::Llama3:
      return kLlama3;
    case fb::PreTokenizer::Qwen2:
      return kQwen2;
    case fb::PreTokenizer::Smollm:
      return kSmollm;
  }
  throw std::runtime_error("tokenizer.pre_tokenizer: " + std::to_string(static_cast<int>(kind)) +
                           " is unknown; 0 to 3 was expected (GPT-2, Llama 3, Qwen2, SmolLM)");
}

std::string pcre2_message(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

}  // namespace

struct PreTokenizer::Code {
  pcre2_code* code = nullptr;
  pcre2_match_context* context = nullptr;
  ~Code() {
    pcre2_code_free(code);
    pcre2_match_context_free(context);
  }
};

PreTokenizer::PreTokenizer(fb::PreTokenizer kind) : code_(std::make_unique<Code>()) {
  const char* pattern = expression(kind);
  int error = 0;
  size_t offset = 0;
  code_->code = pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern), PCRE2_ZERO_TERMINATED,
                              PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &offset, nullptr);
  if (!code_->code) throw std::runtime_error("PCRE2 does not compile the pre-tokenizer: " + pcre2_message(error));
  pcre2_jit_compile(code_->code, PCRE2_JIT_COMPLETE);  // where it fails the interpreter does the same, slower
  code_->context = pcre2_match_context_create(nullptr);
  if (!code_->context) throw std::bad_alloc();
  // The expressions never backtrack over more than the white space at hand, so steps are bounded by the text.
  pcre2_set_match_limit(code_->context, UINT32_MAX);
}

PreTokenizer::~PreTokenizer() = default;

void PreTokenizer::split(std::string_view text, std::vector<size_t>& ends) const {
  const std::unique_ptr<pcre2_match_data, void (*)(pcre2_match_data*)> match(
      pcre2_match_data_create(1, nullptr), [](pcre2_match_data* m) { pcre2_match_data_free(m); });
  if (!match) throw std::bad_alloc();
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t at = 0;
  while (at < text.size()) {
    int rc = pcre2_match(code_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK, match.get(), code_->context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(code_->code, subject, text.size(), at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, match.get(),
                       code_->context);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH)
      throw std::runtime_error("PCRE2 fails on the text to be tokenized: " + pcre2_message(rc));
    const size_t end = rc < 0 ? at : pcre2_get_ovector_pointer(match.get())[1];
    at = end > at ? end : at + utf8_char(text.substr(at));  // the expressions match every character
    ends.push_back(at);
  }
}

}  // namespace svq::rt
