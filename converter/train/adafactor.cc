#include "converter/train/adafactor.h"

#include <ATen/Parallel.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "converter/train/row_kernels.h"

namespace svq::convert {
namespace {

constexpr int64_t kRun = 64;      // rows whose squares are summed by column before those sums are added up
constexpr double kLeast = 1e-30;  // of a mean of squares

// means[i] = decay · means[i] + (1 − decay) · sums[i] / count
void blend(float* means, const double* sums, int64_t n, double count, double decay) {
  for (int64_t i = 0; i < n; ++i)
    means[i] = static_cast<float>(decay * double{means[i]} + (1 - decay) * sums[i] / count);
}

}  // namespace

Adafactor::Adafactor(std::vector<Parameter> parameters, double rate, double decay)
    : parameters_(std::move(parameters)), rate_(rate), decay_(decay) {
  for (const Parameter& p : parameters_) {
    rows_.push_back(at::zeros({p.value.size(0)}, at::kFloat));
    columns_.push_back(at::zeros({p.value.size(1)}, at::kFloat));
  }
}

void Adafactor::step(double factor) {
  const at::NoGradGuard no_grad;
  const double unbias = 1 / (1 - std::pow(decay_, ++steps_));
  for (size_t p = 0; p < parameters_.size(); ++p) {
    at::Tensor& gradient = parameters_[p].value.mutable_grad();
    if (!gradient.defined()) continue;
    const at::Tensor g = gradient.contiguous();
    const int64_t n = g.size(0), k = g.size(1), runs = (n + kRun - 1) / kRun;
    const float* values = g.data_ptr<float>();

    std::vector<double> row_sums(static_cast<size_t>(n)), column_sums(static_cast<size_t>(k));
    std::vector<float> run_sums(static_cast<size_t>(runs * k));
    at::parallel_for(0, runs, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin * kRun; i < std::min(end * kRun, n); ++i)
        row_sums[static_cast<size_t>(i)] = add_squares_row(values + i * k, k, run_sums.data() + i / kRun * k);
    });
    for (int64_t run = 0; run < runs; ++run) {
      for (int64_t j = 0; j < k; ++j) column_sums[static_cast<size_t>(j)] += double{run_sums[size_t(run * k + j)]};
    }
    float* row_means = rows_[p].data_ptr<float>();
    float* column_means = columns_[p].data_ptr<float>();
    blend(row_means, row_sums.data(), n, static_cast<double>(k), decay_);
    blend(column_means, column_sums.data(), k, static_cast<double>(n), decay_);

    double mean = 0;
    for (int64_t i = 0; i < n; ++i) mean += double{row_means[i]};
    mean = std::max(mean / static_cast<double>(n), kLeast);
    std::vector<float> by_column(static_cast<size_t>(k));
    for (int64_t j = 0; j < k; ++j)
      by_column[static_cast<size_t>(j)] =
          static_cast<float>(1 / std::sqrt(std::max(double{column_means[j]} * unbias, kLeast)));
    const double size = -factor * rate_ * parameters_[p].unit;
    float* weights = parameters_[p].value.data_ptr<float>();
    at::parallel_for(0, n, kRun, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const double by_row = 1 / std::sqrt(std::max(double{row_means[i]} / mean, kLeast));
        add_scaled_row(values + i * k, by_column.data(), static_cast<float>(size * by_row), k, weights + i * k);
      }
    });
    gradient = at::Tensor();
  }
}

}  // namespace svq::convert
