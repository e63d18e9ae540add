// Parse tree to automaton: states with empty edges first (Thompson 1968), then without.
#include "runtime/grammar/automaton.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "runtime/base/error.h"
#include "runtime/grammar/syntax.h"

namespace svq::rt {
namespace {

constexpr size_t kMaxStates = 200'000;
constexpr uint32_t kNever = UINT32_MAX / 2;

struct Draft {
  struct State {
    std::vector<Automaton::Edge> edges;
    std::vector<Automaton::Call> calls;
    std::vector<uint32_t> empty;
  };
  std::vector<State> states;
  std::vector<uint32_t> starts, ends;  // per rule
};

class Builder {
 public:
  explicit Builder(Draft& draft) : d_(draft) {}

  uint32_t state() {
    if (d_.states.size() == kMaxStates) {
      fail(SVQ_ERROR_GRAMMAR, "grammar: more than ", kMaxStates,
           " states: repetitions such as {0,1000} of large parts are copied out");
    }
    d_.states.emplace_back();
    return static_cast<uint32_t>(d_.states.size()) - 1;
  }

  // Adds what `s` describes behind state `from`; returns where it ends.
  uint32_t add(const Syntax& s, uint32_t from) {
    switch (s.kind) {
      case Syntax::Kind::kLiteral:
        for (const char c : s.literal) from = byte(from, static_cast<uint8_t>(c), static_cast<uint8_t>(c));
        return from;
      case Syntax::Kind::kSpecial:
        return byte(from, static_cast<uint8_t>(kFirstSpecial + s.index), static_cast<uint8_t>(kFirstSpecial + s.index));
      case Syntax::Kind::kClass: {
        const uint32_t to = state();
        suffixes_.clear();
        for (const auto& [low, high] : s.ranges) utf8(from, to, low, high);
        return to;
      }
      case Syntax::Kind::kRule: {
        const uint32_t to = state();
        d_.states[from].calls.push_back({s.index, to});
        return to;
      }
      case Syntax::Kind::kSequence:
        for (const Syntax& child : s.children) from = add(child, from);
        return from;
      case Syntax::Kind::kChoice: {
        const uint32_t to = state();
        for (const Syntax& child : s.children) {
          const uint32_t begin = state();
          empty(from, begin);
          empty(add(child, begin), to);
        }
        return to;
      }
      case Syntax::Kind::kRepeat: {
        for (uint32_t i = 0; i < s.least; ++i) from = add(s.children[0], from);
        if (s.most == kNoLimit) {
          const uint32_t loop = state(), to = state();
          empty(from, loop);
          empty(loop, to);
          empty(add(s.children[0], loop), loop);
          return to;
        }
        const uint32_t to = state();
        empty(from, to);
        for (uint32_t i = s.least; i < s.most; ++i) {
          const uint32_t begin = state();  // of its own, so that it may be left only where it begins
          empty(from, begin);
          from = add(s.children[0], begin);
          empty(from, to);
        }
        return to;
      }
    }
    return from;
  }

 private:
  void empty(uint32_t from, uint32_t to) { d_.states[from].empty.push_back(to); }
  uint32_t byte(uint32_t from, uint8_t low, uint8_t high) {
    const uint32_t to = state();
    d_.states[from].edges.push_back({low, high, to});
    return to;
  }

  // A range of code points as sequences of byte ranges: cut where the length of the encoding changes, then where a
  // continuation byte does not run over all of its 64 values.
  void utf8(uint32_t from, uint32_t to, uint32_t low, uint32_t high) {
    for (const uint32_t border : {0x7Fu, 0x7FFu, 0xFFFFu}) {
      if (low <= border && high > border) {
        utf8(from, to, low, border);
        utf8(from, to, border + 1, high);
        return;
      }
    }
    const int more = low <= 0x7F ? 0 : low <= 0x7FF ? 1 : low <= 0xFFFF ? 2 : 3;  // continuation bytes
    for (int i = 1; i <= more; ++i) {
      const uint32_t mask = (1u << 6 * i) - 1;
      if ((low & ~mask) == (high & ~mask)) continue;
      if ((low & mask) != 0) {
        utf8(from, to, low, low | mask);
        utf8(from, to, (low | mask) + 1, high);
        return;
      }
      if ((high & mask) != mask) {
        utf8(from, to, low, (high & ~mask) - 1);
        utf8(from, to, high & ~mask, high);
        return;
      }
    }
    static constexpr uint32_t kLead[] = {0, 0xC0, 0xE0, 0xF0};
    uint32_t target = to;
    for (int i = 0; i < more; ++i) {  // from the last byte on, so that equal ends are shared
      const auto a = static_cast<uint8_t>(0x80 | (low >> 6 * i & 63)),
                 b = static_cast<uint8_t>(0x80 | (high >> 6 * i & 63));
      auto [it, added] = suffixes_.try_emplace({a, b, target}, 0);
      if (added) {
        it->second = state();
        d_.states[it->second].edges.push_back({a, b, target});
      }
      target = it->second;
    }
    d_.states[from].edges.push_back({static_cast<uint8_t>(kLead[more] | low >> 6 * more),
                                     static_cast<uint8_t>(kLead[more] | high >> 6 * more), target});
  }

  Draft& d_;
  std::map<std::tuple<uint8_t, uint8_t, uint32_t>, uint32_t> suffixes_;  // of the current class
};

// Every state that empty edges lead to, the state itself first.
std::vector<uint32_t> closure(const Draft& d, uint32_t state, std::vector<uint32_t>& seen, uint32_t mark) {
  std::vector<uint32_t> out{state};
  seen[state] = mark;
  for (size_t i = 0; i < out.size(); ++i) {
    for (const uint32_t to : d.states[out[i]].empty) {
      if (seen[to] == mark) continue;
      seen[to] = mark;
      out.push_back(to);
    }
  }
  return out;
}

// Keeps the states that something leads to by an edge or a call, with the edges and calls of their closures.
Automaton without_empty_edges(const Draft& d) {
  Automaton a;
  std::vector<uint32_t> number(d.states.size(), UINT32_MAX), order, seen(d.states.size(), 0);
  std::vector<uint32_t> rule_of;  // its end is what a state of the rule accepts by
  const auto take = [&](uint32_t state, uint32_t rule) {
    if (number[state] == UINT32_MAX) {
      number[state] = static_cast<uint32_t>(order.size());
      order.push_back(state);
      rule_of.push_back(rule);
    }
    return number[state];
  };
  for (uint32_t r = 0; r < d.starts.size(); ++r) a.starts.push_back(take(d.starts[r], r));
  const size_t n_starts = order.size();
  for (size_t i = 0; i < order.size(); ++i) {
    Automaton::State s{};
    s.edges_begin = static_cast<uint32_t>(a.edges.size());
    s.calls_begin = static_cast<uint32_t>(a.calls.size());
    s.entry = i < n_starts;
    for (const uint32_t q : closure(d, order[i], seen, static_cast<uint32_t>(i) + 1)) {
      for (const Automaton::Edge& e : d.states[q].edges) a.edges.push_back({e.low, e.high, take(e.to, rule_of[i])});
      for (const Automaton::Call& c : d.states[q].calls) a.calls.push_back({c.rule, take(c.to, rule_of[i])});
      s.accepts = s.accepts || q == d.ends[rule_of[i]];
    }
    s.edges_end = static_cast<uint32_t>(a.edges.size());
    s.calls_end = static_cast<uint32_t>(a.calls.size());
    s.tail = s.accepts && s.edges_begin == s.edges_end && s.calls_begin == s.calls_end;
    a.states.push_back(s);
  }
  return a;
}

// State.least, by going over the states until nothing changes; targets mostly stand behind, so backwards.
void measure(Automaton& a, const std::vector<SyntaxRule>& rules) {
  for (Automaton::State& s : a.states) s.least = s.accepts ? 0 : kNever;
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = a.states.size(); i-- > 0;) {
      Automaton::State& s = a.states[i];
      uint32_t least = s.least;
      for (uint32_t e = s.edges_begin; e < s.edges_end; ++e) least = std::min(least, 1 + a.states[a.edges[e].to].least);
      for (uint32_t c = s.calls_begin; c < s.calls_end; ++c) {
        const uint64_t sum = uint64_t{a.states[a.starts[a.calls[c].rule]].least} + a.states[a.calls[c].to].least;
        least = std::min(least, static_cast<uint32_t>(std::min<uint64_t>(sum, kNever)));
      }
      if (least < s.least) {
        s.least = least;
        changed = true;
      }
    }
  }
  for (Automaton::State& s : a.states) s.accepts = s.least == 0;
  for (size_t r = 0; r < rules.size(); ++r) {
    if (a.states[a.starts[r]].least >= kNever) {
      fail(SVQ_ERROR_GRAMMAR, "grammar: the rule \"", rules[r].name, "\" can never end: it always needs itself");
    }
  }
}

// A rule may be left-recursive through rules that can be empty. Nullable means least == 0.
void refuse_left_recursion(const Automaton& a, const std::vector<SyntaxRule>& rules) {
  const size_t n = rules.size();
  std::vector<std::vector<uint32_t>> first(n);  // rules that can stand at a rule's very beginning
  std::vector<uint32_t> seen(a.states.size(), UINT32_MAX);
  for (uint32_t r = 0; r < n; ++r) {
    std::vector<uint32_t> todo{a.starts[r]};
    while (!todo.empty()) {
      const uint32_t at = todo.back();
      todo.pop_back();
      if (seen[at] == r) continue;
      seen[at] = r;
      for (uint32_t c = a.states[at].calls_begin; c < a.states[at].calls_end; ++c) {
        first[r].push_back(a.calls[c].rule);
        if (a.states[a.starts[a.calls[c].rule]].least == 0) todo.push_back(a.calls[c].to);
      }
    }
  }
  std::vector<uint8_t> colour(n, 0);  // 0 new, 1 on the path, 2 done
  for (uint32_t r = 0; r < n; ++r) {
    std::vector<std::pair<uint32_t, size_t>> path;
    if (colour[r] == 0) path.emplace_back(r, 0), colour[r] = 1;
    while (!path.empty()) {
      auto& [rule, next] = path.back();
      if (next == first[rule].size()) {
        colour[rule] = 2;
        path.pop_back();
        continue;
      }
      const uint32_t to = first[rule][next++];
      if (colour[to] == 1) {
        fail(SVQ_ERROR_GRAMMAR, "grammar: the rule \"", rules[to].name, "\" is left-recursive: it begins with itself");
      }
      if (colour[to] == 0) path.emplace_back(to, 0), colour[to] = 1;
    }
  }
}

}  // namespace

Automaton build_automaton(const std::vector<SyntaxRule>& rules, uint32_t root, std::vector<int32_t> specials) {
  Draft draft;
  Builder builder(draft);
  for (const SyntaxRule& rule : rules) {
    draft.starts.push_back(builder.state());
    draft.ends.push_back(builder.add(rule.body, draft.starts.back()));
  }
  Automaton a = without_empty_edges(draft);
  a.root = root;
  a.states[a.starts[root]].entry = false;
  a.specials = std::move(specials);
  measure(a, rules);
  refuse_left_recursion(a, rules);
  return a;
}

}  // namespace svq::rt
