// What the steps of a conversion cost, for the bar and the time left.
#pragma once
#include "converter/job/options.h"
#include "converter/job/plan.h"

namespace svq::convert {

// Work in units of progress: multiply-adds, times factors fitted roughly to the steps of SmolLM2-135M on two CPU cores.
struct Costs {
  double tokens;          // of the calibration set
  double sampled_tokens;  // written by the model, with those that are trained on
  // One token at a time reads all weights: several times slower than the forward pass of whole sequences.
  double sampling(const Plan& plan) const { return 5 * sampled_tokens * static_cast<double>(plan.parameters); }
  double forward(double weights) const { return 2 * tokens * weights; }
  double hessian(const PlannedGroup& g) const { return g.needs_hessian ? tokens * columns(g) * columns(g) : 0; }
  // Per linear: a part that does not grow with it, its elements, and (with a Hessian) products of it with [K, K]
  // matrices and the search; per group the factorisation of the Hessian.
  double group(const PlannedGroup& g, const Options& o) const {
    double sum = 0;
    for (const PlannedLinear& l : g.linears) {
      const double size = static_cast<double>(l.rows) * static_cast<double>(l.columns);
      if (!l.packed()) sum += 40 * size;
      if (l.packed()) sum += 1e9 + 500 * size;
      if (l.packed() && g.needs_hessian)
        sum += 9e9 +
               size * (static_cast<double>(l.columns) * (4 + o.descent) + 16 * static_cast<double>(o.search_moves()));
    }
    return sum + (g.needs_hessian ? 6 * columns(g) * columns(g) * columns(g) : 0);
  }
  static double columns(const PlannedGroup& g) {
    return g.linears.empty() ? 0 : static_cast<double>(g.linears[0].columns);
  }
};

}  // namespace svq::convert
