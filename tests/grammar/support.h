// Vocabularies and walks for tests of grammars.
#pragma once
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include "runtime/grammar/json_schema.h"
#include "runtime/grammar/matcher.h"
#include "runtime/tokenizer/utf8.h"
#include "tests/runtime/helpers.h"

namespace svq::test {

// A tokenizer of the 256 bytes, of random strings cut from typical texts (so that tokens cross the borders of rules),
// and of the given special tokens, the first of which ends a text.
class Vocabulary {
 public:
  explicit Vocabulary(const std::vector<std::string>& extra, uint32_t n_random = 300, uint32_t seed = 1,
                      const std::vector<std::pair<std::string, bool>>& special = {{"<end>", true}});
  const rt::Tokenizer& tokenizer() const { return *tokenizer_; }
  std::shared_ptr<const rt::TokenTrie> trie() const { return trie_; }
  uint32_t size() const { return size_; }
  int32_t end() const { return tokenizer_->eos(); }
  std::shared_ptr<const rt::Grammar> grammar(const std::string& gbnf) const {
    return std::make_shared<const rt::Grammar>(rt::parse_gbnf(gbnf), trie_, *tokenizer_);
  }

 private:
  std::vector<uint8_t> tables_;
  uint32_t size_ = 0;
  std::unique_ptr<rt::Tokenizer> tokenizer_;
  std::shared_ptr<const rt::TokenTrie> trie_;
};

inline bool admits(const uint64_t* mask, int32_t token) {
  return (mask[static_cast<uint32_t>(token) / 64] >> (token % 64) & 1) != 0;
}

// Draws a text: uniformly among the admitted tokens, closing when `room` gets short, as a session does.
std::string random_text(rt::Matcher& matcher, const Vocabulary& vocabulary, std::mt19937& rng, uint32_t room);

}  // namespace svq::test
