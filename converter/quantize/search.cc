#include "converter/quantize/search.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mm.h>

#include <algorithm>
#include <vector>

#include "converter/quantize/block_kernels.h"
#include "converter/quantize/row_search.h"

namespace svq::convert {
namespace {

// Rows whose gradients one matrix product gives, and rows searched side by side, each as if the others stood still:
// with more of them more have moved in vain.
constexpr int64_t kRowsOfProduct = 64, kRowsAtOnce = 8;

void search_row(RowSearch& search, const SearchOptions& o, int64_t columns, float* gradient, uint8_t* codes) {
  NamedRandom random(o.seed, {reinterpret_cast<const char*>(codes), static_cast<size_t>(columns)});
  search.run(o.moves, random, gradient, codes);
}

double dot(const float* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < n; ++k) sum += static_cast<double>(a[k]) * static_cast<double>(b[k]);
  return sum;
}

// Rows begin … of search_rows_.
class RowsSearch {
 public:
  RowsSearch(at::Tensor& errors, at::Tensor& codes, const at::Tensor& hessian, const at::Tensor& output, int bits,
             const SearchOptions& options, int64_t begin, int64_t size)
      : errors_(errors),
        codes_(codes),
        hessian_(hessian),
        output_(output.data_ptr<float>()),
        bits_(bits),
        options_(options),
        rows_(errors.size(0)),
        columns_(errors.size(1)),
        begin_(begin),
        size_(size),
        // Row r with the others fixed moves in x_r = e_r + Σ_s output_rs / output_rr e_s under H.
        gradient_(at::mm(at::mm(output.narrow(0, begin, size), errors), hessian)),
        moved_(at::empty_like(gradient_)),
        chosen_(codes.narrow(0, begin, size).clone()) {
    gradient_.div_(output.diagonal().narrow(0, begin, size).unsqueeze(1));
  }

  void run() {
    for (int64_t first = 0; first < size_; first += kRowsAtOnce) {
      const int64_t last = std::min(size_, first + kRowsAtOnce);
      const size_t known = taken_.size();
      at::parallel_for(first, last, 1, [&](int64_t from, int64_t to) {
        RowSearch search(hessian_.data_ptr<float>(), columns_, (1 << bits_) - 1);
        for (int64_t i = from; i < to; ++i) {
          follow(i, 0, known);
          std::copy_n(gradient(i), columns_, moved(i));
          search_row(search, options_, columns_, moved(i), chosen_.data_ptr<uint8_t>() + i * columns_);
          for (int64_t k = 0; k < columns_; ++k) moved(i)[k] -= gradient(i)[k];
        }
      });
      // One after another, against what those before it in this round have changed.
      for (int64_t i = first; i < last; ++i) {
        follow(i, known, taken_.size());
        take(i);
      }
    }
  }

 private:
  float* gradient(int64_t i) { return gradient_.data_ptr<float>() + i * columns_; }
  float* moved(int64_t i) { return moved_.data_ptr<float>() + i * columns_; }

  // What the rows taken_[from … to) have changed in row i's gradient.
  void follow(int64_t i, size_t from, size_t to) {
    const float* out = output_ + (begin_ + i) * rows_;
    for (size_t t = from; t < to; ++t)
      add_scaled(moved(taken_[t]), out[begin_ + taken_[t]] / out[begin_ + i], columns_, gradient(i));
  }

  void take(int64_t i) {
    const at::Tensor chosen = chosen_[i], codes = codes_[begin_ + i];
    const at::Tensor step = codes.to(at::kFloat).sub_(chosen);
    const float* s = step.data_ptr<float>();
    if (2 * dot(gradient(i), s, columns_) + dot(moved(i), s, columns_) >= 0) return;
    taken_.push_back(i);
    errors_[begin_ + i].add_(step);
    codes.copy_(chosen);
  }

  at::Tensor &errors_, &codes_;
  const at::Tensor& hessian_;
  const float* output_;
  const int bits_;
  const SearchOptions& options_;
  const int64_t rows_, columns_, begin_, size_;
  at::Tensor gradient_;  // [size, K]: x H
  at::Tensor moved_;     // [size, K]: what the row's own moves add to that
  at::Tensor chosen_;    // [size, K] codes
  std::vector<int64_t> taken_;
};

}  // namespace

void search_codes_(at::Tensor& errors, at::Tensor& codes, const at::Tensor& hessian, int bits,
                   const SearchOptions& options) {
  if (options.moves <= 0) return;
  const int64_t columns = errors.size(0), rows = errors.size(1);
  const at::Tensor gradient = at::mm(errors.t(), hessian).contiguous(), before = codes.t().contiguous(),
                   after = before.clone();
  at::parallel_for(0, rows, 1, [&](int64_t begin, int64_t end) {
    RowSearch search(hessian.data_ptr<float>(), columns, (1 << bits) - 1);
    for (int64_t r = begin; r < end; ++r) {
      search_row(search, options, columns, gradient.data_ptr<float>() + r * columns,
                 after.data_ptr<uint8_t>() + r * columns);
    }
  });
  codes.copy_(after.t());
  errors.add_(before.to(at::kFloat).sub_(after).t());
}

void search_rows_(at::Tensor& errors, at::Tensor& codes, const at::Tensor& hessian, const at::Tensor& output, int bits,
                  const SearchOptions& options) {
  const int64_t rows = errors.size(0);
  for (int64_t begin = 0; begin < rows && options.moves > 0; begin += kRowsOfProduct)
    RowsSearch(errors, codes, hessian, output, bits, options, begin, std::min(kRowsOfProduct, rows - begin)).run();
}

}  // namespace svq::convert
