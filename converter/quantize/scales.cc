#include "converter/quantize/scales.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/cholesky_solve.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_cholesky_ex.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones_like.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "converter/quantize/descent.h"
#include "converter/quantize/grid.h"
#include "converter/quantize/ldlq.h"
#include "schema/packing.h"

namespace svq::convert {

at::Tensor row_rms(const at::Tensor& weight) {
  at::Tensor out = at::empty({weight.size(0)}, at::kFloat);
  const at::Tensor w = weight.contiguous();
  const int64_t k = w.size(1);
  const float* data = w.data_ptr<float>();
  at::parallel_for(0, w.size(0), 64, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      double sum = 0;
      for (int64_t c = 0; c < k; ++c) sum += static_cast<double>(data[r * k + c]) * data[r * k + c];
      out.data_ptr<float>()[r] = static_cast<float>(std::sqrt(sum / static_cast<double>(k)));
    }
  });
  return out;
}

void choose_codes_(at::Tensor& targets, at::Tensor& codes, const CodeMetric& metric, int bits, int passes,
                   const SearchOptions& search) {
  if (!metric.hessian.defined()) {
    round_(targets, codes, bits);
    return;
  }
  ldlq_(targets, codes, metric.factor, bits);
  for (int pass = 0; pass < passes; ++pass) {
    if (descend_(targets, codes, metric.hessian, bits) == 0) break;
  }
  search_codes_(targets, codes, metric.hessian, bits, search);
}

double search_step(const at::Tensor& sample, const at::Tensor& row_step, const AffineMapsData& maps,
                   const CodeMetric& metric, int bits) {
  constexpr double kWalk = 0.05;
  constexpr int kMostSteps = 8;
  at::Tensor codes = at::empty({sample.size(1), sample.size(0)}, at::kByte);
  const auto cost = [&](int walk) {
    const at::Tensor step = row_step * (kStepMultiple + walk * kWalk);
    at::Tensor errors = to_code_units(sample, step, maps);
    choose_codes_(errors, codes, metric, bits, 1);
    const at::Tensor by_row = metric.hessian.defined() ? weighted_error(errors, metric.hessian)
                                                       : errors.square().sum(0, /*keepdim=*/false, at::kDouble);
    return by_row.mul(step.to(at::kDouble).square()).sum().item<double>();
  };
  const double here = cost(0), up = cost(1);
  int walk = up < here ? 1 : 0;
  double best = std::min(here, up);
  const int direction = up < here ? 1 : -1;
  while (std::abs(walk + direction) <= kMostSteps) {
    const double next = cost(walk + direction);
    if (!(next < best)) break;
    best = next;
    walk += direction;
  }
  return kStepMultiple + walk * kWalk;
}

at::Tensor row_steps(const at::Tensor& weight, int bits) {
  constexpr int kCandidates = 24;
  const at::Tensor w = weight.contiguous();
  const at::Tensor rms = row_rms(w);
  at::Tensor out = at::zeros({w.size(0)}, at::kFloat);
  const int64_t k = w.size(1);
  const float middle = format::middle_code(bits);
  const float most = static_cast<float>((1 << bits) - 1);
  const float* data = w.data_ptr<float>();
  const float* rms_data = rms.data_ptr<float>();
  float* steps = out.data_ptr<float>();
  at::parallel_for(0, w.size(0), 16, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* row = data + r * k;
      float largest = 0;
      for (int64_t c = 0; c < k; ++c) largest = std::max(largest, std::abs(row[c]));
      if (largest == 0.0f) continue;
      const double low = 0.7 * closed_form_step(bits) * rms_data[r];
      const double high = std::max(low, static_cast<double>(largest) / middle);
      double best = -1;
      for (int i = 0; i < kCandidates; ++i) {
        const float step = static_cast<float>(low * std::pow(high / low, i / (kCandidates - 1.0)));
        const float inverse = 1.0f / step;
        // Eight partial sums in a fixed order, so that the loop may use vectors.
        float sums[8] = {};
        for (int64_t c = 0; c < k; ++c) {
          const float v = row[c] * inverse + middle;
          const float clamped = std::min(std::max(v, 0.0f), most);
          const float e = v - static_cast<float>(static_cast<int>(clamped + 0.5f));
          sums[c % 8] += e * e;
        }
        double error = 0;
        for (const float s : sums) error += s;
        error *= static_cast<double>(step) * step;
        if (best < 0 || error < best) {
          best = error;
          steps[r] = step;
        }
      }
    }
  });
  return out;
}

RowFit fit_rows(const at::Tensor& p, const at::Tensor& w, const at::Tensor& hessian, const at::Tensor& scale, bool fit,
                const at::Tensor& output) {
  const auto dot = [](const at::Tensor& a, const at::Tensor& b) {
    return a.mul(b).sum(1, /*keepdim=*/false, at::kDouble);
  };
  const auto weigh = [&](const at::Tensor& x) { return hessian.defined() ? at::mm(x, hessian) : x; };
  const at::Tensor ph = weigh(p);
  RowFit out;
  out.scale = scale;
  if (fit) {
    const at::Tensor old = scale.to(at::kDouble);
    const at::Tensor power = dot(ph, p) * old;
    at::Tensor factor = at::where(power.eq(0), at::ones_like(power), dot(ph, w) / power);
    if (output.defined()) {
      at::Tensor normal = at::mm(ph, p.t()).to(at::kDouble).mul_(output);
      normal.diagonal().add_(1e-6 * normal.diagonal().mean());  // rows of zeros
      const at::Tensor right = at::mm(ph, w.t()).to(at::kDouble).mul_(output).sum(1, /*keepdim=*/true);
      const auto [lower, info] = at::linalg_cholesky_ex(normal);
      if (info.item<int>() == 0)
        factor = at::where(power.eq(0), factor, at::cholesky_solve(right, lower).squeeze(1) / old);
    }
    factor.clamp_(0.5, 2.0);
    out.scale = round_to_f16(old * factor);
  }
  const at::Tensor column = out.scale.unsqueeze(1);
  const at::Tensor e = p.mul(column).sub_(w);
  const at::Tensor eh = weigh(e);
  out.error = dot(eh, e).sum().item<double>();
  out.reference = dot(ph.mul(column).sub_(eh), w).sum().item<double>();  // w H = (scale p − e) H
  return out;
}

}  // namespace svq::convert
