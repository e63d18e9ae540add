// The runtime's C interface with owning handles and exceptions: what the four programs share.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "svqrt/svqrt.h"

namespace svq::tools {

// A failure the user is told of: what() is one sentence that names the file or option it is about.
class Failure : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Throws Failure with svq_last_error() unless status is SVQ_OK.
void check(svq_status status);

struct Free {
  void operator()(svq_model* m) const { svq_model_free(m); }
  void operator()(svq_session* s) const { svq_session_free(s); }
  void operator()(svq_model_params* p) const { svq_model_params_free(p); }
  void operator()(svq_session_params* p) const { svq_session_params_free(p); }
  void operator()(svq_grammar* g) const { svq_grammar_free(g); }
};
using ModelPtr = std::unique_ptr<svq_model, Free>;
using SessionPtr = std::unique_ptr<svq_session, Free>;
using GrammarPtr = std::unique_ptr<svq_grammar, Free>;

// device: "cpu", "cuda" or "auto".
ModelPtr load_model(const std::string& path, const std::string& device = "cpu");
svq_model_info model_info(const svq_model* model);
// The file's metadata as JSON (svq_model_describe).
std::string model_description(const svq_model* model, bool with_tensors);

// 0 leaves the library's default.
struct SessionOptions {
  uint32_t context = 0;  // positions
  uint32_t threads = 0;
  uint32_t kv_bits = 0;      // 16 or 8
  uint32_t activations = 0;  // 8 or 32
};
SessionPtr create_session(svq_model* model, const SessionOptions& options);

std::vector<svq_token> tokenize(const svq_model* model, std::string_view text, uint32_t flags);
std::string detokenize(const svq_model* model, std::span<const svq_token> tokens, bool with_special);
std::vector<svq_token> chat_tokenize(const svq_model* model, std::span<const svq_message> messages, bool continued,
                                     bool open_answer);

// Whether the tokenizer puts its begin-of-text token before a text by itself.
bool adds_bos(const svq_model* model);

// Of the text in a file; Failure names the file.
GrammarPtr load_grammar(svq_model* model, svq_grammar_kind kind, const std::string& path);

// The whole file; Failure names the file.
std::string read_file(const std::string& path);

}  // namespace svq::tools
