#include "runtime/grammar/token_trie.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "runtime/grammar/automaton.h"

namespace svq::rt {

TokenTrie::TokenTrie(const Tokenizer& tokenizer) : vocab(tokenizer.vocab()) {
  std::vector<std::pair<std::string_view, int32_t>> sorted;
  for (uint32_t id = 0; id < vocab; ++id) {
    const auto token = static_cast<int32_t>(id);
    if (tokenizer.is_control(token) || tokenizer.is_end(token)) continue;
    const std::string_view bytes = tokenizer.token_bytes(token);
    const bool text =
        std::all_of(bytes.begin(), bytes.end(), [](char c) { return static_cast<uint8_t>(c) < kFirstSpecial; });
    if (!bytes.empty() && bytes.size() <= kMaxTokenBytes && text) sorted.emplace_back(bytes, token);
  }
  std::sort(sorted.begin(), sorted.end());  // as unsigned bytes: char_traits<char> compares so

  tokens.reserve(sorted.size());
  nodes.push_back({0, 0, 0});
  std::vector<uint32_t> path{0};  // nodes of the last token's prefixes
  std::string_view last;
  for (const auto& [bytes, token] : sorted) {
    const size_t shared =
        static_cast<size_t>(std::mismatch(last.begin(), last.end(), bytes.begin(), bytes.end()).first - last.begin());
    while (path.size() > shared + 1) {
      nodes[path.back()].end = static_cast<uint32_t>(nodes.size());
      path.pop_back();
    }
    for (size_t i = shared; i < bytes.size(); ++i) {
      path.push_back(static_cast<uint32_t>(nodes.size()));
      nodes.push_back({0, static_cast<uint32_t>(tokens.size()), static_cast<uint8_t>(bytes[i])});
    }
    tokens.push_back(token);
    depth = std::max(depth, static_cast<uint32_t>(bytes.size()));
    last = bytes;
  }
  for (const uint32_t node : path) nodes[node].end = static_cast<uint32_t>(nodes.size());
  nodes.push_back({static_cast<uint32_t>(nodes.size()) + 1, static_cast<uint32_t>(tokens.size()), 0});
}

}  // namespace svq::rt
