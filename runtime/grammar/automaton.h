// A grammar as the machine that reads it, byte by byte: one nondeterministic automaton per rule; an edge is a range of
// bytes, a call is another rule to be read before going on. No empty edges are left, no rule is left-recursive, and
// from every state an end can be reached.
//
// Text is UTF-8, so that bytes from 0xF8 on never occur in it: byte kFirstSpecial + i stands for the whole of special
// token specials[i], which the grammar names by its id.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace svq::rt {

constexpr uint8_t kFirstSpecial = 0xF8;
constexpr uint32_t kMaxSpecials = 8;

struct Automaton {
  struct Edge {
    uint8_t low, high;
    uint32_t to;
  };
  struct Call {
    uint32_t rule;
    uint32_t to;  // where to go on behind it
  };
  struct State {
    uint32_t edges_begin, edges_end;
    uint32_t calls_begin, calls_end;
    uint32_t least;  // bytes from here to the end of the rule, at least
    bool accepts;    // the rule may end here: least == 0
    bool tail;       // … and has to: no edges, no calls
    bool entry;      // only the start of a rule that is called: never on top of a stack by itself
  };
  std::vector<State> states;
  std::vector<Edge> edges;
  std::vector<Call> calls;
  std::vector<uint32_t> starts;  // per rule
  uint32_t root = 0;             // a rule
  std::vector<int32_t> specials;
  // Such a token is never read as its text.
  bool is_special(int32_t token) const { return std::find(specials.begin(), specials.end(), token) != specials.end(); }
};

// GBNF as llama.cpp writes it: rules `name ::= …` with "literals", [classes], [^complements], ., ( ), |, * + ? {m} {m,}
// {m,n}, # comments, and <[id]> for a special token by its id. The rule `root` is the whole. Throws Error (GRAMMAR)
// with one sentence naming line or rule.
Automaton parse_gbnf(std::string_view text);

}  // namespace svq::rt
