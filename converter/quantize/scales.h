// Scales: the step of the grid, and the magnitude of every output.
#pragma once
#include <ATen/core/Tensor.h>

#include "converter/quantize/hessian.h"
#include "converter/quantize/quantize.h"
#include "converter/quantize/search.h"

namespace svq::convert {

// What codes are chosen with, in code units (grid.h). Both undefined without a Hessian: every code on its own.
struct CodeMetric {
  at::Tensor hessian;  // [K, K] f32, damped
  HessianFactor factor;
};

// Root mean square of every row, [N] f32. weight: [N, K].
at::Tensor row_rms(const at::Tensor& weight);

// Quantizes targets [K, n] (code units, changed into errors) into codes [K, n]: LDLQ, `passes` of descent, the search.
void choose_codes_(at::Tensor& targets, at::Tensor& codes, const CodeMetric& metric, int bits, int passes,
                   const SearchOptions& search = {});

// The multiple of row_step [n] f32 (the closed form) that gives the sample's rows [n, K] the least weighted error,
// found by walking from 1.05 in steps of 0.05. maps: of unit step.
double search_step(const at::Tensor& sample, const at::Tensor& row_step, const AffineMapsData& maps,
                   const CodeMetric& metric, int bits);
inline constexpr double kStepMultiple = 1.05;  // best on average with feedback, and what is used without a search

// For every row the step of a symmetric grid of 2^bits levels (half a step on either side of 0) with the least squared
// error, of 24 between the normal closed form and the largest value. weight [N, K] f32 → [N] f32.
at::Tensor row_steps(const at::Tensor& weight, int bits);

// Rows of Ŵ = diag(scale) P against W under H: scale_i · w_i H p_iᵀ / (scale_i p_i H p_iᵀ) as a factor of scale_i
// clamped to [0.5, 2], the least-squares magnitude, rounded to f16. hessian: [K, K] f32, or undefined for the identity.
struct RowFit {
  at::Tensor scale;      // [n] f32
  double error = 0;      // Σ_i (scale_i p_i − w_i) H (…)ᵀ
  double reference = 0;  // Σ_i w_i H w_iᵀ
};
// output: [N, N] f64, the curvature over the rows (two_sided.h): then all scales together minimise
// Σ_ij output_ij (scale_i p_i − w_i) H (scale_j p_j − w_j)ᵀ. Undefined: the identity, every row on its own. The error
// and the reference count rows alike in both cases.
RowFit fit_rows(const at::Tensor& p, const at::Tensor& w, const at::Tensor& hessian, const at::Tensor& scale, bool fit,
                const at::Tensor& output = {});

}  // namespace svq::convert
