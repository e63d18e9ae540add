#include "converter/job/allocate.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <queue>

#include "converter/base/error.h"
#include "converter/job/reporter.h"

namespace svq::convert {

namespace {

// An affine map more, where the linears of a group come to differ in width: A and B, each in 64 bytes.
constexpr uint64_t kMapBytes = 128;

// The level that the hull leads to from `at`, or nothing: the one with the steepest way down.
std::optional<size_t> next_on_hull(const std::vector<Level>& levels, size_t at) {
  std::optional<size_t> best;
  double steepest = 0;
  for (size_t i = at + 1; i < levels.size(); ++i) {
    const double slope = (levels[at].loss - levels[i].loss) / static_cast<double>(levels[i].bytes - levels[at].bytes);
    if (slope > steepest) {
      steepest = slope;
      best = i;
    }
  }
  return best;
}

// The widest plan that a budget can lead to.
Plan largest_plan(const Model& model, const Options& options, const Plan& least) {
  Options widest = options;
  widest.overrides.clear();
  for (const Choice& choice : open_choices(options, least))
    widest.overrides.emplace_back(choice.name, choice.levels.back().bits);
  widest.overrides.insert(widest.overrides.end(), options.overrides.begin(), options.overrides.end());
  return make_plan(model, widest);
}

// Bytes of the file, or of the blocks' linears: whatever the budget is for.
uint64_t spent(const Plan& plan, const Options& options) {
  return options.size_budget ? plan.file_bytes : plan.block_bytes;
}

uint64_t allowed(const Plan& plan, const Options& options) {
  if (options.size_budget) return options.size_budget;
  return static_cast<uint64_t>(options.bit_budget * static_cast<double>(plan.block_weights) / 8);
}

}  // namespace

std::vector<size_t> spend(const std::vector<Choice>& choices, uint64_t spare) {
  struct Step {
    double slope;
    size_t choice, level;
    bool operator<(const Step& other) const {  // the largest first; ties by place
      return slope != other.slope ? slope < other.slope : choice > other.choice;
    }
  };
  std::vector<size_t> chosen(choices.size(), 0);
  std::priority_queue<Step> steps;
  const auto offer = [&](size_t i) {
    const auto& levels = choices[i].levels;
    if (const auto next = next_on_hull(levels, chosen[i])) {
      const Level &a = levels[chosen[i]], &b = levels[*next];
      steps.push({(a.loss - b.loss) / static_cast<double>(b.bytes - a.bytes), i, *next});
    }
  };
  for (size_t i = 0; i < choices.size(); ++i) offer(i);
  while (!steps.empty()) {
    const Step step = steps.top();
    steps.pop();
    const auto& levels = choices[step.choice].levels;
    const uint64_t cost = levels[step.level].bytes - levels[chosen[step.choice]].bytes;
    if (cost > spare) continue;  // smaller steps of others may still fit
    spare -= cost;
    chosen[step.choice] = step.level;
    offer(step.choice);
  }
  return chosen;
}

Plan make_budget_plan(const Model& model, const Options& options) {
  Plan plan = make_plan(model, options);
  const uint64_t least = spent(plan, options), most = allowed(plan, options);
  if (most < least) {
    throw Error(
        options.size_budget
            ? fmt::format("--size: {} ({} bytes) were asked for, and the smallest file of this model has {} ({} "
                          "bytes)",
                          format_bytes(most), most, format_bytes(least), least)
            : fmt::format("--bits {}: the blocks of this model take {:.3f} bits a weight at least, with scales "
                          "and affine maps",
                          options.bit_budget,
                          8.0 * static_cast<double>(least) / static_cast<double>(plan.block_weights)));
  }
  const uint64_t useful = std::max(least, spent(largest_plan(model, options, plan), options));
  const uint64_t more = std::min(most, useful) - least;
  plan.file_bytes += more;
  plan.data_bytes += more;
  plan.work_bytes += more * (options.trains() ? 2 : 1);
  if (!options.size_budget) plan.block_bytes += more;
  plan.at_most = true;
  return plan;
}

std::vector<Choice> open_choices(const Options& options, const Plan& least) {
  std::vector<Choice> choices;
  for (const PlannedGroup& group : least.groups) {
    for (const PlannedLinear& l : group.linears) {
      const bool named = std::any_of(options.overrides.begin(), options.overrides.end(),
                                     [&](const auto& o) { return fnmatch(o.first.c_str(), l.name.c_str(), 0) == 0; });
      if (named || !l.packed()) continue;
      if (group.layer < 0) {
        const auto& given = l.slot == Slot::kEmbedding ? options.embedding_bits : options.head_bits;
        if (!options.size_budget || given) continue;
      }
      Choice choice{l.name, {}};
      for (int bits = l.bits; bits <= 8; ++bits) {
        const uint64_t map = bits > l.bits && group.linears.size() > 1 ? kMapBytes : 0;
        choice.levels.push_back({bits, weight_bytes(l.rows, l.columns, bits) + map, 0});
      }
      choices.push_back(std::move(choice));
    }
  }
  return choices;
}

Options apply_budget(const Model& model, const Options& options, const Plan& least, Allocation& allocation) {
  const Plan base = make_plan(model, options);
  const uint64_t most = allowed(least, options);
  uint64_t spare = most - spent(base, options);
  for (;;) {
    allocation.chosen = spend(allocation.choices, spare);
    Options result = options;
    result.overrides.clear();
    for (size_t i = 0; i < allocation.choices.size(); ++i) {
      const Choice& choice = allocation.choices[i];
      result.overrides.emplace_back(choice.name, choice.levels[allocation.chosen[i]].bits);
    }
    result.overrides.insert(result.overrides.end(), options.overrides.begin(), options.overrides.end());
    const uint64_t total = spent(make_plan(model, result), result);
    if (total <= most) return result;
    if (spare == 0)
      throw Error(fmt::format("{}: too small by {} bytes to choose widths in",
                              options.size_budget ? "--size" : "--bits", total - most));
    // Padding and the metadata's strings were not counted.
    const uint64_t over = total - most + 64;
    spare = spare > over ? spare - over : 0;
  }
}

}  // namespace svq::convert
