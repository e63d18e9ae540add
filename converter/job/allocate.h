// Which linears get more bits, so that a budget of bytes loses least.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "converter/job/options.h"
#include "converter/job/plan.h"

namespace svq::convert {

struct Level {
  int bits;
  uint64_t bytes;
  double loss;
};

struct Choice {
  std::string name;           // of a linear
  std::vector<Level> levels;  // by bytes, ascending; the first is what it gets at least
};

// The level of every choice. From the first levels on, the step that saves the most loss a byte is taken, as long as
// one fits what is left of `spare` bytes; steps lead along the lower convex hull of a choice's levels, so that one that
// pays only together with the next is taken with it.
std::vector<size_t> spend(const std::vector<Choice>& choices, uint64_t spare);

// A plan in which every width is the least that a budget allows, and its totals are those that the budget will be spent
// to. Throws Error if the budget does not hold even that.
Plan make_budget_plan(const Model& model, const Options& options);

// The widths that may vary: every packed linear of the blocks that no override names and, with a budget for the whole
// file, embedding and head if their width is not given. loss is 0.
std::vector<Choice> open_choices(const Options& options, const Plan& least);

struct Allocation {
  std::vector<Choice> choices;
  std::vector<size_t> chosen;  // level of each
};

// Spends the budget on the choices with their losses, and checks by the plan that it is kept. Returns options with the
// widths as overrides, before those that the user gave.
Options apply_budget(const Model& model, const Options& options, const Plan& least, Allocation& allocation);

}  // namespace svq::convert
