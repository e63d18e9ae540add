// A vocabulary as a tree of bytes: what a grammar walks instead of asking about every token by itself.
#pragma once
#include <cstdint>
#include <vector>

#include "runtime/tokenizer/tokenizer.h"

namespace svq::rt {

// Nodes in depth-first order: the children of node i begin at i + 1, each followed by its subtree; i's ends before
// nodes[i].end. Left out are control tokens, tokens without text, and those with bytes that UTF-8 does not have.
struct TokenTrie {
  struct Node {
    uint32_t end;
    uint32_t tokens_begin;  // in `tokens`; up to the next node's
    uint8_t byte;
  };
  static constexpr size_t kMaxTokenBytes = 256;  // longer ones are left out: they bound a walk's depth
  explicit TokenTrie(const Tokenizer& tokenizer);

  std::vector<Node> nodes;      // nodes[0]: the root, without a byte; one more at the end as a border
  std::vector<int32_t> tokens;  // by node
  uint32_t depth = 0;           // of the longest token
  uint32_t vocab = 0;
  uint64_t heap_bytes() const { return nodes.size() * sizeof(Node) + tokens.size() * sizeof(int32_t); }
};

}  // namespace svq::rt
