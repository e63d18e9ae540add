// The parse tree of a grammar, and the automaton made from it.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/grammar/automaton.h"
#include "runtime/grammar/code_points.h"

namespace svq::rt {

struct Syntax {
  enum class Kind { kLiteral, kClass, kRule, kSequence, kChoice, kRepeat, kSpecial };
  Kind kind;
  std::string literal;           // kLiteral: bytes
  CodePoints ranges;             // kClass: ascending, disjoint
  uint32_t index = 0;            // kRule, kSpecial
  std::vector<Syntax> children;  // kSequence, kChoice; kRepeat: one
  uint32_t least = 0, most = 0;  // kRepeat; kNoLimit: any number
};
constexpr uint32_t kNoLimit = UINT32_MAX;

struct SyntaxRule {
  std::string name;
  Syntax body;
};

// Throws Error (GRAMMAR): left recursion, a rule that can never end, too many states.
Automaton build_automaton(const std::vector<SyntaxRule>& rules, uint32_t root, std::vector<int32_t> specials);

}  // namespace svq::rt
