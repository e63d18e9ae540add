#include "runtime/grammar/grammar.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "runtime/base/error.h"

namespace svq::rt {
namespace {

constexpr uint32_t kBase = UINT32_MAX;  // below the frame of the state in question: unknown
constexpr char kSpecialBytes[] = "\xF8\xF9\xFA\xFB\xFC\xFD\xFE\xFF";
constexpr size_t kMaxStacks = 1 << 22;  // over all states; generous, but finite

uint64_t hash_pair(uint32_t a, uint32_t b) { return (uint64_t{a} << 32 | b) * 0x9E3779B97F4A7C15u; }

}  // namespace

// Sets of stacks, relative to the frame they began in, as states of a deterministic automaton made while it is walked.
class Grammar::Compiler {
 public:
  Compiler(const Automaton& a, const TokenTrie& trie) : a_(a), trie_(trie), path_(trie.depth + 1) {}

  Mask run(uint32_t state) {
    std::vector<int32_t> admitted;
    Mask out;
    path_[0] = initial(state);
    // The tree in order; a subtree is skipped where nothing is left to read. path_[d]: the set after d bytes.
    ends_.assign(1, static_cast<uint32_t>(trie_.nodes.size()) - 1);
    uint32_t at = 1;
    const auto last = static_cast<uint32_t>(trie_.nodes.size()) - 1;
    while (at < last) {
      while (at >= ends_.back()) ends_.pop_back();
      const TokenTrie::Node& node = trie_.nodes[at];
      const size_t depth = ends_.size();  // after this byte
      const uint32_t next = step(path_[depth - 1], node.byte);
      if (next == kDead) {
        at = node.end;
        continue;
      }
      const Set& set = *sets_[next];
      for (uint32_t t = node.tokens_begin; t < trie_.nodes[at + 1].tokens_begin; ++t) {
        if (!a_.is_special(trie_.tokens[t])) admitted.push_back(trie_.tokens[t]);
      }
      if (set.exit && node.end > at + 1) out.exits.push_back(at);
      if (set.nodes.empty()) {
        at = node.end;
        continue;
      }
      path_[depth] = next;
      ends_.push_back(node.end);
      ++at;
    }
    for (uint32_t i = 0; i < a_.specials.size(); ++i) {
      if (step(path_[0], static_cast<uint8_t>(kFirstSpecial + i)) != kDead) admitted.push_back(a_.specials[i]);
    }
    const size_t words = (trie_.vocab + 63) / 64;
    if (admitted.size() < 2 * words) {  // the smaller of the two
      out.list = std::move(admitted);
      out.list.shrink_to_fit();
    } else {
      out.words.assign(words, 0);
      for (const int32_t t : admitted) out.words[static_cast<uint32_t>(t) / 64] |= uint64_t{1} << (t % 64);
    }
    return out;
  }

 private:
  struct VectorHash {
    size_t operator()(const std::vector<uint32_t>& v) const {
      uint64_t h = v.size();
      for (const uint32_t x : v) h = (h ^ x) * 0x9E3779B97F4A7C15u, h ^= h >> 29;
      return h;
    }
  };
  static constexpr uint32_t kDead = UINT32_MAX, kUnknown = UINT32_MAX - 1;
  struct Set {
    std::vector<uint32_t> nodes;  // tops with edges, ascending
    bool exit = false;            // the frame itself may have ended
    std::array<uint32_t, 256> next;
  };
  struct Frame {
    uint32_t state, parent;
  };

  uint32_t node(uint32_t state, uint32_t parent) {
    const auto [it, added] =
        node_index_.try_emplace(uint64_t{state} << 32 | parent, static_cast<uint32_t>(frames_.size()));
    if (added) {
      if (frames_.size() == kMaxStacks) fail(SVQ_ERROR_GRAMMAR, "grammar: too many ways to read the same text");
      frames_.push_back({state, parent});
    }
    return it->second;
  }

  // Takes over what `todo` holds with all it calls and, where a rule has ended, what stands below.
  uint32_t close(std::vector<uint32_t>& todo) {
    std::vector<uint32_t> all;
    bool exit = false;
    const auto add = [&](uint32_t n) {
      if (std::find(all.begin(), all.end(), n) == all.end()) all.push_back(n);
    };
    for (const uint32_t n : todo) add(n);
    for (size_t i = 0; i < all.size(); ++i) {
      const Frame f = frames_[all[i]];
      const Automaton::State& s = a_.states[f.state];
      if (s.accepts) {
        if (f.parent == kBase) {
          exit = true;
        } else {
          add(f.parent);
        }
      }
      for (uint32_t c = s.calls_begin; c < s.calls_end; ++c) {
        const Automaton::Call& call = a_.calls[c];
        const uint32_t below = a_.states[call.to].tail ? f.parent : node(call.to, f.parent);
        add(node(a_.starts[call.rule], below));
      }
    }
    std::erase_if(all, [&](uint32_t n) {
      const Automaton::State& s = a_.states[frames_[n].state];
      return s.edges_begin == s.edges_end;
    });
    if (all.empty() && !exit) return kDead;
    std::sort(all.begin(), all.end());
    all.push_back(exit);  // part of the key
    const auto [it, added] = set_index_.try_emplace(all, static_cast<uint32_t>(sets_.size()));
    if (added) {
      auto set = std::make_unique<Set>();
      all.pop_back();
      set->nodes = all;
      set->exit = exit;
      set->next.fill(kUnknown);
      sets_.push_back(std::move(set));
    }
    return it->second;
  }

  uint32_t initial(uint32_t state) {
    todo_.assign(1, node(state, kBase));
    return close(todo_);
  }

  uint32_t step(uint32_t from, uint8_t byte) {
    if (from == kDead) return kDead;
    const uint32_t known = sets_[from]->next[byte];
    if (known != kUnknown) return known;
    todo_.clear();
    for (const uint32_t n : sets_[from]->nodes) {
      const Frame f = frames_[n];
      const Automaton::State& s = a_.states[f.state];
      for (uint32_t e = s.edges_begin; e < s.edges_end; ++e) {
        const Automaton::Edge& edge = a_.edges[e];
        if (byte >= edge.low && byte <= edge.high) todo_.push_back(node(edge.to, f.parent));
      }
    }
    const uint32_t to = todo_.empty() ? kDead : close(todo_);
    return sets_[from]->next[byte] = to;
  }

  struct U64Hash {
    size_t operator()(uint64_t k) const {
      return hash_pair(static_cast<uint32_t>(k >> 32), static_cast<uint32_t>(k)) >> 7;
    }
  };
  const Automaton& a_;
  const TokenTrie& trie_;
  std::vector<Frame> frames_;
  std::unordered_map<uint64_t, uint32_t, U64Hash> node_index_;
  std::vector<std::unique_ptr<Set>> sets_;
  std::unordered_map<std::vector<uint32_t>, uint32_t, VectorHash> set_index_;
  std::vector<uint32_t> todo_, path_, ends_;
};

Grammar::Grammar(Automaton automaton, std::shared_ptr<const TokenTrie> trie, const Tokenizer& tokenizer)
    : automaton_(std::move(automaton)), trie_(std::move(trie)), tokenizer_(tokenizer) {
  for (const int32_t id : automaton_.specials) {
    if (id < 0 || static_cast<uint32_t>(id) >= trie_->vocab) {
      fail(SVQ_ERROR_GRAMMAR, "grammar: token ", id, " is not in the vocabulary of ", trie_->vocab);
    }
  }
  masks_.resize(automaton_.states.size());
  Compiler compiler(automaton_, *trie_);
  for (uint32_t s = 0; s < masks_.size(); ++s) {
    if (!automaton_.states[s].entry) masks_[s] = compiler.run(s);
  }
}

void Grammar::admit(uint32_t state, uint64_t* mask) const {
  const Mask& m = masks_[state];
  for (size_t i = 0; i < m.words.size(); ++i) mask[i] |= m.words[i];
  for (const int32_t t : m.list) mask[static_cast<uint32_t>(t) / 64] |= uint64_t{1} << (t % 64);
}

std::string_view Grammar::bytes_of(int32_t token) const {
  for (uint32_t i = 0; i < automaton_.specials.size(); ++i) {
    if (automaton_.specials[i] == token) return {kSpecialBytes + i, 1};
  }
  if (tokenizer_.is_control(token)) return {};
  const std::string_view bytes = tokenizer_.token_bytes(token);
  const bool text =
      std::all_of(bytes.begin(), bytes.end(), [](char c) { return static_cast<uint8_t>(c) < kFirstSpecial; });
  return text ? bytes : std::string_view();
}

uint64_t Grammar::heap_bytes() const {
  uint64_t bytes = automaton_.states.size() * (sizeof(Automaton::State) + sizeof(Mask)) +
                   automaton_.edges.size() * sizeof(Automaton::Edge) +
                   automaton_.calls.size() * sizeof(Automaton::Call);
  for (const Mask& m : masks_) bytes += m.list.size() * 4 + m.words.size() * 8 + m.exits.size() * 4;
  return bytes;
}

}  // namespace svq::rt
