#include "converter/quantize/hadamard.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "converter/quantize/dct.h"

namespace svq::convert {
namespace {

// Unnormalised butterflies of a power-of-two run.
template <class T>
void walsh_hadamard(T* x, int64_t n) {
  for (int64_t half = 1; half < n; half *= 2) {
    for (int64_t start = 0; start < n; start += 2 * half) {
      T* low = x + start;
      T* high = low + half;
      for (int64_t i = 0; i < half; ++i) {
        const T a = low[i], b = high[i];
        low[i] = a + b;
        high[i] = a - b;
      }
    }
  }
}

// y_i = Σ_j m[i][j] x_j over runs of `block` values; y and x are [factor][block].
template <class T>
void mix(const T* x, const std::vector<T>& m, int64_t factor, int64_t block, T* y) {
  for (int64_t i = 0; i < factor; ++i) {
    T* out = y + i * block;
    std::fill(out, out + block, T{0});
    for (int64_t j = 0; j < factor; ++j) {
      const T c = m[i * factor + j];
      const T* in = x + j * block;
      for (int64_t b = 0; b < block; ++b) out[b] += c * in[b];
    }
  }
}

template <class T>
class Rotator {
 public:
  Rotator(const fb::Rotation& r, bool inverse)
      : block_(r.block()),
        factor_(r.factor()),
        mixed_(r.kind() == fb::RotationKind::Mixed && r.factor() > 1),
        inverse_(inverse),
        norm_(static_cast<T>(1.0 / std::sqrt(static_cast<double>(r.block())))) {
    if (!mixed_) return;
    matrix_.resize(factor_ * factor_);
    for (int64_t i = 0; i < factor_; ++i) {
      for (int64_t j = 0; j < factor_; ++j) {
        const double v = dct_entry(factor_, i, j);
        matrix_[inverse ? j * factor_ + i : i * factor_ + j] = static_cast<T>(v);
      }
    }
  }
  int64_t size() const { return block_ * factor_; }

  // scratch: size() values.
  void operator()(T* x, T* scratch) const {
    if (inverse_) across(x, scratch);
    for (int64_t f = 0; f < factor_; ++f) walsh_hadamard(x + f * block_, block_);
    for (int64_t i = 0; i < size(); ++i) x[i] *= norm_;
    if (!inverse_) across(x, scratch);
  }

 private:
  void across(T* x, T* scratch) const {
    if (!mixed_) return;
    mix(x, matrix_, factor_, block_, scratch);
    std::copy(scratch, scratch + size(), x);
  }

  int64_t block_, factor_;
  bool mixed_, inverse_;
  T norm_;
  std::vector<T> matrix_;  // [factor, factor], transposed for the inverse
};

template <class T>
void rotate_rows(T* x, int64_t rows, const Rotator<T>& rotator) {
  const int64_t n = rotator.size();
  at::parallel_for(0, rows, std::max<int64_t>(1, 32768 / n), [&](int64_t begin, int64_t end) {
    std::vector<T> scratch(n);
    for (int64_t r = begin; r < end; ++r) rotator(x + r * n, scratch.data());
  });
}

// Columns are gathered 16 at a time, one cache line of f32, rotated as rows and put back.
template <class T>
void rotate_columns(T* x, int64_t columns, const Rotator<T>& rotator) {
  constexpr int64_t kGather = 16;
  const int64_t n = rotator.size();
  at::parallel_for(0, (columns + kGather - 1) / kGather, 1, [&](int64_t begin, int64_t end) {
    std::vector<T> buffer(kGather * n), scratch(n);
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t c0 = tile * kGather, width = std::min(kGather, columns - c0);
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t c = 0; c < width; ++c) buffer[c * n + r] = x[r * columns + c0 + c];
      }
      for (int64_t c = 0; c < width; ++c) rotator(buffer.data() + c * n, scratch.data());
      for (int64_t r = 0; r < n; ++r) {
        for (int64_t c = 0; c < width; ++c) x[r * columns + c0 + c] = buffer[c * n + r];
      }
    }
  });
}

template <class T>
void rotate_typed(at::Tensor& x, int64_t dim, const fb::Rotation& rotation, bool inverse) {
  const Rotator<T> rotator(rotation, inverse);
  if (dim == 1) {
    rotate_rows(x.data_ptr<T>(), x.size(0), rotator);
  } else {
    rotate_columns(x.data_ptr<T>(), x.size(1), rotator);
  }
}

}  // namespace

fb::Rotation make_rotation(int64_t n, RotationChoice choice) {
  if (choice == RotationChoice::kNone) return fb::Rotation(fb::RotationKind::None, 0, 0);
  const int64_t block = n & -n, factor = n / block;
  const bool mixed = choice == RotationChoice::kMixed && factor > 1;
  return fb::Rotation(mixed ? fb::RotationKind::Mixed : fb::RotationKind::Blocks, static_cast<uint32_t>(block),
                      static_cast<uint32_t>(factor));
}

void rotate_(at::Tensor& x, int64_t dim, const fb::Rotation& rotation, bool inverse) {
  if (rotation.kind() == fb::RotationKind::None) return;
  TORCH_CHECK(x.dim() == 2 && x.is_contiguous() && x.device().is_cpu() && (dim == 0 || dim == 1) &&
                  x.size(dim) == int64_t{rotation.block()} * rotation.factor(),
              "rotate_: x must be a contiguous CPU matrix of the rotation's size along dim");
  if (x.scalar_type() == at::kDouble) {
    rotate_typed<double>(x, dim, rotation, inverse);
  } else {
    rotate_typed<float>(x, dim, rotation, inverse);
  }
}

}  // namespace svq::convert
