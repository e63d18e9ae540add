// A grammar made ready for one model: which tokens each state of the automaton admits is worked out beforehand, by
// walking the vocabulary's tree once per state, so that a step of generation only has to combine the answers.
//
// What a token does is decided by the state on top of the stack alone, unless the token runs beyond the end of the rule
// the state is in. Per state there are therefore
//   admitted   tokens that can be read to their last byte inside the rule (and what it calls)
//   exits      nodes of the tree where the rule may have ended: from there on the rest of the stack decides, at run
//   time
#pragma once
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "runtime/grammar/automaton.h"
#include "runtime/grammar/token_trie.h"

namespace svq::rt {

class Grammar {
 public:
  // trie and tokenizer must outlive it. Throws Error (GRAMMAR) if a special token is not in the vocabulary.
  Grammar(Automaton automaton, std::shared_ptr<const TokenTrie> trie, const Tokenizer& tokenizer);

  const Automaton& automaton() const { return automaton_; }
  const TokenTrie& trie() const { return *trie_; }
  const Tokenizer& tokenizer() const { return tokenizer_; }

  // mask |= tokens that the state admits. mask: (words()) bit per token.
  void admit(uint32_t state, uint64_t* mask) const;
  // Where its rule may end inside a token: nodes that have children.
  const std::vector<uint32_t>& exits(uint32_t state) const { return masks_[state].exits; }
  uint32_t words() const { return (trie_->vocab + 63) / 64; }
  // Bytes that stand for the token in the automaton; empty: it has none there.
  std::string_view bytes_of(int32_t token) const;
  uint32_t least_bytes() const { return automaton_.states[automaton_.starts[automaton_.root]].least; }
  uint64_t heap_bytes() const;

 private:
  struct Mask {
    std::vector<int32_t> list;    // few tokens
    std::vector<uint64_t> words;  // many
    std::vector<uint32_t> exits;
  };
  class Compiler;

  const Automaton automaton_;
  const std::shared_ptr<const TokenTrie> trie_;
  const Tokenizer& tokenizer_;
  std::vector<Mask> masks_;  // per state
};

}  // namespace svq::rt
