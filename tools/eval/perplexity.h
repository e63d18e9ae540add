// Perplexity of a text.
#pragma once
#include <string>

#include "tools/common/runtime.h"

namespace svq::tools {

struct PerplexityOptions {
  std::string model;
  std::string text;
  uint32_t context = 512;
  uint32_t chunks = 0;  // 0: all
  bool score_all = false;
  bool parse_special = false;  // control tokens written in the text are these tokens
  SessionOptions session;
  bool json = false;
};

// The text is tokenized once and cut into chunks of `context` tokens, each evaluated from an empty context; the
// predictions made from position context / 2 (score_all: 0) to context - 2 are scored; the half is llama.cpp's rule.
// Where the tokenizer begins a text with a token of its own, that token replaces the first of every chunk.
// perplexity = exp(mean negative log-likelihood), its error by the delta method. Returns the exit code.
int run_perplexity(const PerplexityOptions& options);

}  // namespace svq::tools
