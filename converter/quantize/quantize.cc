#include "converter/quantize/quantize.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/eye.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "converter/base/error.h"
#include "converter/quantize/grid.h"
#include "converter/quantize/hadamard.h"
#include "converter/quantize/hessian.h"
#include "converter/quantize/random.h"
#include "converter/quantize/scales.h"
#include "converter/quantize/two_sided.h"
#include "schema/packing.h"

namespace svq::convert {
namespace {

// Rows worked on at once: bounds every temporary to 64 MB of f32 (but never below one tile of the kernels).
int64_t rows_at_once(int64_t columns) {
  constexpr int64_t kElements = int64_t{16} << 20;
  return std::max<int64_t>(64, kElements / columns / 64 * 64);
}

constexpr int64_t kWidestSearch = 4096;  // columns

std::string shape_text(const at::Tensor& x) {
  std::string text = "[";
  for (int64_t i = 0; i < x.dim(); ++i) text += (i ? ", " : "") + std::to_string(x.size(i));
  return text + "]";
}

void check_options(const QuantizeOptions& o) {
  if (o.group_dim != 4 && o.group_dim != 8) {
    throw Error("group dimension " + std::to_string(o.group_dim) + " is not supported; 4 or 8 was expected");
  }
  if (o.lattice == LatticeInit::kD4 && o.group_dim != 4) {
    throw Error("group dimension " + std::to_string(o.group_dim) + " was given with the lattice D4; 4 was expected");
  }
  if (o.columns_per_map < 0 || o.columns_per_map % o.group_dim != 0) {
    throw Error("columns per affine map is " + std::to_string(o.columns_per_map) +
                "; a multiple of the group dimension " + std::to_string(o.group_dim) + " was expected");
  }
  if (!(o.damping >= 0.0 && o.damping <= 1.0)) {
    throw Error("damping is " + std::to_string(o.damping) + "; a number from 0 to 1 was expected");
  }
}

class Progress {
 public:
  Progress(const std::function<void(double)>& report, double total) : report_(report), total_(total) {}
  void advance(double work) {
    done_ += work;
    if (report_) report_(std::min(1.0, done_ / total_));
  }

 private:
  const std::function<void(double)>& report_;
  double total_, done_ = 0;
};

class GroupQuantizer {
 public:
  GroupQuantizer(GroupJob job, const QuantizeOptions& options, const std::function<void(double)>& progress)
      : job_(std::move(job)),
        options_(options),
        unisvq_(options.method == Method::kUnisvq),
        columns_(check()),
        progress_(progress, total_work()) {}

  QuantizedGroup run() {
    prepare_input();
    prepare_metric();
    prepare_maps();
    for (size_t i = 0; i < job_.linears.size(); ++i) result_.linears.push_back(quantize(job_.linears[i], steps_[i]));
    return std::move(result_);
  }

 private:
  // Returns K.
  int64_t check() const {
    check_options(options_);
    if (job_.linears.empty()) throw Error(job_.name + ": no linear to quantize; at least one was expected");
    const at::Tensor& first = job_.linears.front().weight;
    const int64_t columns = first.defined() && first.dim() == 2 ? first.size(1) : 0;
    for (const LinearJob& l : job_.linears) {
      if (!l.weight.defined() || l.weight.dim() != 2 || l.weight.numel() == 0 || l.weight.size(1) != columns ||
          l.weight.scalar_type() != at::kFloat || !l.weight.device().is_cpu()) {
        throw Error(l.name + ": weight has shape " + (l.weight.defined() ? shape_text(l.weight) : "none") +
                    "; an f32 matrix with " + std::to_string(columns) + " columns was expected");
      }
      if (!format::is_packed_width(static_cast<uint32_t>(l.bits))) {
        throw Error(l.name + ": " + std::to_string(l.bits) + " bits cannot be packed; 2 to 8 were expected");
      }
      if (!all_finite(l.weight))
        throw Error(l.name + ": the weight holds a NaN or an infinity; finite values were expected");
    }
    if (unisvq_ && options_.lattice != LatticeInit::kIdentity && columns % options_.group_dim != 0) {
      throw Error(job_.name + ": has " + std::to_string(columns) + " columns; a multiple of " +
                  std::to_string(options_.group_dim) + " was expected with a lattice that mixes columns");
    }
    if (job_.hessian.defined()) {
      if (job_.hessian.dim() != 2 || job_.hessian.size(0) != columns || job_.hessian.size(1) != columns) {
        throw Error(job_.name + ": the Hessian has shape " + shape_text(job_.hessian) + "; [" +
                    std::to_string(columns) + ", " + std::to_string(columns) + "] was expected");
      }
      if (!all_finite(job_.hessian)) {
        throw Error(job_.name + ": the Hessian of " + job_.linears.front().name +
                    " holds a NaN or an infinity; finite calibration activations were expected");
      }
    }
    if (job_.input_norm.defined() && (job_.input_norm.dim() != 1 || job_.input_norm.size(0) != columns)) {
      throw Error(job_.name + ": the norm has shape " + shape_text(job_.input_norm) + "; [" + std::to_string(columns) +
                  "] was expected");
    }
    return columns;
  }

  // Work in multiply-adds, roughly: only its proportions matter.
  double total_work() const {
    double total = hessian_work();
    for (const LinearJob& l : job_.linears) total += static_cast<double>(l.weight.size(0)) * row_work();
    return total;
  }
  double hessian_work() const {
    return job_.hessian.defined() ? 2.0 * std::pow(static_cast<double>(columns_), 3) / 3.0 : 0.0;
  }
  double row_work() const { return code_work() + 2.0 * std::pow(static_cast<double>(columns_), 2); }
  double code_work() const {
    return std::pow(static_cast<double>(columns_), 2) * (0.5 + (unisvq_ ? options_.descent_passes : 0));
  }

  // s_in = signs ⊙ norm rounded to f16; with u = H_in (s_in ⊙ x / norm), W x = (W diag(norm / s_in) H_inᵀ) u exactly.
  void prepare_input() {
    result_.name = job_.name;
    result_.columns = columns_;
    result_.rotation = make_rotation(columns_, unisvq_ ? options_.rotation : RotationChoice::kNone);
    const bool rotated = result_.rotation.kind() != fb::RotationKind::None;
    if (!rotated && !job_.input_norm.defined()) return;  // ones
    at::Tensor signs = at::ones({columns_}, at::kFloat);
    if (rotated) {
      NamedRandom random(options_.seed, job_.name + "/in");
      for (int64_t k = 0; k < columns_; ++k) signs.data_ptr<float>()[k] = random.sign();
    }
    if (!job_.input_norm.defined()) {
      result_.in_scale = signs;
      effective_ = signs;
      return;
    }
    const at::Tensor norm = job_.input_norm.to(at::kCPU).to(at::kFloat);
    result_.in_scale = round_to_f16(signs * norm);
    if (!all_finite(result_.in_scale)) {
      throw Error(job_.name + ": the norm's weight does not fit 16-bit floats; values below 65504 were expected");
    }
    // An input that the norm (or its f16 rounding) wipes out never reaches the linear: its weight is free.
    effective_ = at::where(result_.in_scale.eq(0), signs, result_.in_scale / norm);
  }

  void prepare_metric() {
    basis_ = unisvq_ ? lattice_basis(options_, job_.name) : at::eye(options_.group_dim, at::kFloat);
    if (!job_.hessian.defined()) return;
    const double work = hessian_work();
    at::Tensor h = transform_hessian(job_.hessian, effective_, result_.rotation);
    job_.hessian.reset();
    score_hessian_ = h.to(at::kFloat);
    if (options_.method != Method::kRtn) {
      // The magnitude of the maps does not matter here: one metric serves every width.
      h = to_code_units(h, make_maps(basis_, 1.0, 2, columns_, options_.columns_per_map));
      metric_.factor = factor_hessian(h, options_.damping, job_.name + " (" + job_.linears.front().name + ")");
      metric_.hessian = h.to(at::kFloat).contiguous();
    }
    progress_.advance(work);
  }

  // The closed-form steps of every linear, and one set of maps for every width. The magnitude of a linear goes into
  // out_scale; the maps take a power of two near the mean magnitude, so that out_scale is about 1: far from the
  // subnormal numbers of f16 and from its overflow, whatever the size of the weights.
  void prepare_maps() {
    std::map<int, std::pair<double, int64_t>> log_steps;  // by bits: sum and count of log2(step)
    for (const LinearJob& l : job_.linears) {
      steps_.push_back(closed_form_steps(l));
      const at::Tensor positive = steps_.back().masked_select(steps_.back().gt(0)).to(at::kDouble);
      log_steps[l.bits].first += positive.log2().sum().item<double>();
      log_steps[l.bits].second += positive.numel();
    }
    for (const auto& [bits, sum] : log_steps) {
      const double mean = sum.second > 0 ? sum.first / static_cast<double>(sum.second) : 0.0;
      const double magnitude = std::exp2(std::clamp(std::round(mean), -8.0, 6.0));
      map_of_bits_[bits] = static_cast<int>(result_.maps.size());
      result_.maps.push_back(make_maps(basis_, magnitude, bits, columns_, unisvq_ ? options_.columns_per_map : 0));
      magnitudes_.push_back(magnitude);
    }
  }

  // Rows of one linear share a step where the output rotation mixes them; elsewhere each has its own. [N]
  at::Tensor closed_form_steps(const LinearJob& l) const {
    if (!unisvq_) return row_steps(l.weight, l.bits);
    at::Tensor rms = row_rms(l.weight);
    if (output_rotation(l).kind() != fb::RotationKind::None)
      rms.fill_(rms.square().mean(at::kDouble).sqrt().item<double>());
    return rms.mul_(closed_form_step(l.bits));
  }

  bool two_sided(const LinearJob& l) const {
    return unisvq_ && l.output_hessian.defined() && metric_.hessian.defined();
  }

  fb::Rotation output_rotation(const LinearJob& l) const {
    return make_rotation(l.weight.size(0), unisvq_ && l.rotate_output ? options_.rotation : RotationChoice::kNone);
  }

  // W diag(1 / effective) H_inᵀ: the weight as it acts on u. A copy.
  at::Tensor rotate_input(const at::Tensor& weight) const {
    at::Tensor w = effective_.defined() ? weight.div(effective_.unsqueeze(0)).contiguous()
                                        : weight.clone(at::MemoryFormat::Contiguous);
    rotate_(w, 1, result_.rotation, /*inverse=*/false);
    return w;
  }

  double step_multiple(const LinearJob& l, const at::Tensor& rotated, const AffineMapsData& maps,
                       const at::Tensor& step) const {
    if (!unisvq_) return 1.0;
    // The optimum is flat (1 % of the error between 1.0 and 1.1), and looking for it reads H some ten times.
    if (!options_.scale_search || columns_ > kWidestSearch) return kStepMultiple;
    const int64_t rows = l.weight.size(0), sampled = std::min<int64_t>(rows, columns_ > 2048 ? 128 : 256);
    const at::Tensor index = at::arange(sampled, at::kLong).mul_(rows).div_(sampled, "floor");
    const at::Tensor sample =
        rotated.defined() ? rotated.index_select(0, index) : rotate_input(l.weight.index_select(0, index));
    return search_step(sample, step.index_select(0, index), maps, metric_, l.bits);
  }

  QuantizedLinear quantize(const LinearJob& l, const at::Tensor& closed_form) {
    const int64_t rows = l.weight.size(0), at_once = rows_at_once(columns_);
    QuantizedLinear out;
    out.name = l.name;
    out.rows = rows;
    out.columns = columns_;
    out.bits = l.bits;
    out.output_rotation = output_rotation(l);
    out.affine = map_of_bits_.at(l.bits);
    const AffineMapsData& maps = result_.maps[out.affine];
    const bool rotated_output = out.output_rotation.kind() != fb::RotationKind::None;

    at::Tensor signs, rotated;  // rotated: H_out diag(signs) W diag(1 / effective) H_inᵀ
    if (rotated_output) {
      signs = at::empty({rows}, at::kFloat);
      NamedRandom random(options_.seed, l.name + "/out");
      for (int64_t r = 0; r < rows; ++r) signs.data_ptr<float>()[r] = random.sign();
      rotated = rotate_input(l.weight).mul_(signs.unsqueeze(1));
      rotate_(rotated, 0, out.output_rotation, /*inverse=*/false);
    }
    const at::Tensor step = closed_form.div(magnitudes_[out.affine]);
    at::Tensor scale = round_to_f16(step * step_multiple(l, rotated, maps, step));
    if (!all_finite(scale)) {
      throw Error(l.name +
                  ": the rows' magnitudes differ by more than 16-bit floats can hold; a ratio below 2^15 to their mean "
                  "was expected");
    }

    const SearchOptions search{unisvq_ ? options_.search_moves : 0, options_.seed};
    out.codes = at::empty({rows, columns_}, at::kByte);
    if (two_sided(l)) {
      at::Tensor h = transform_hessian(l.output_hessian, signs, out.output_rotation);
      const at::Tensor row_scale = scale.to(at::kDouble);
      h.mul_(row_scale.unsqueeze(0)).mul_(row_scale.unsqueeze(1));
      at::Tensor errors =
          to_code_units(rotated_output ? rotated : rotate_input(l.weight), scale, maps).t().contiguous();
      choose_codes_two_sided_(errors, out.codes, metric_, h, options_.output_damping, l.bits, options_.descent_passes,
                              search, l.name + " (outputs)");
      progress_.advance(static_cast<double>(rows) * code_work());
      rotated.reset();
      fit_output(l, signs, scale, maps, out);
      return out;
    }
    for (int64_t begin = 0; begin < rows; begin += at_once) {
      const int64_t size = std::min(at_once, rows - begin);
      const at::Tensor targets =
          rotated_output ? rotated.narrow(0, begin, size) : rotate_input(l.weight.narrow(0, begin, size));
      at::Tensor errors = to_code_units(targets, scale.narrow(0, begin, size), maps);
      at::Tensor codes = at::empty({columns_, size}, at::kByte);
      choose_codes_(errors, codes, metric_, l.bits, unisvq_ ? options_.descent_passes : 0, search);
      out.codes.narrow(0, begin, size).copy_(codes.t());
      progress_.advance(static_cast<double>(size) * code_work());
    }
    rotated.reset();
    fit_output(l, signs, scale, maps, out);
    return out;
  }

  // out_scale by least squares on the original rows, and the error of what is stored.
  void fit_output(const LinearJob& l, const at::Tensor& signs, at::Tensor scale, const AffineMapsData& maps,
                  QuantizedLinear& out) {
    const int64_t at_once = two_sided(l) ? out.rows : rows_at_once(columns_);
    at::Tensor output;  // damped as it was for the codes
    if (two_sided(l)) {
      output = l.output_hessian.to(at::kDouble);
      output.diagonal().add_(options_.output_damping * output.diagonal().mean());
    }
    at::Tensor unrotated;  // H_outᵀ Q
    if (signs.defined()) {
      scale.mul_(signs);
      unrotated = decode(out.codes, maps);
      rotate_(unrotated, 0, out.output_rotation, /*inverse=*/true);
    }
    double error = 0, reference = 0;
    for (int64_t begin = 0; begin < out.rows; begin += at_once) {
      const int64_t size = std::min(at_once, out.rows - begin);
      const at::Tensor p =
          unrotated.defined() ? unrotated.narrow(0, begin, size) : decode(out.codes.narrow(0, begin, size), maps);
      at::Tensor chunk_scale = scale.narrow(0, begin, size);
      const RowFit fit = fit_rows(p, rotate_input(l.weight.narrow(0, begin, size)), score_hessian_, chunk_scale,
                                  unisvq_ && options_.fit_out_scale, output);
      chunk_scale.copy_(fit.scale);
      error += fit.error;
      reference += fit.reference;
      progress_.advance(static_cast<double>(size) * (row_work() - code_work()));
    }
    out.out_scale = std::move(scale);
    if (!all_finite(out.out_scale))
      throw Error(l.name + ": an output scale does not fit 16-bit floats; values below 65504 were expected");
    out.relative_error = reference > 0 ? std::max(error, 0.0) / reference : 0.0;
  }

  GroupJob job_;
  const QuantizeOptions& options_;
  const bool unisvq_;
  const int64_t columns_;
  Progress progress_;
  QuantizedGroup result_;
  at::Tensor effective_;      // [K] s_in / norm, or undefined: ones
  at::Tensor basis_;          // G
  at::Tensor score_hessian_;  // [K, K] f32 of u, undamped; undefined: identity
  CodeMetric metric_;
  std::vector<at::Tensor> steps_;  // by linear: [N] step of every row
  std::map<int, int> map_of_bits_;
  std::vector<double> magnitudes_;  // by map
};

}  // namespace

QuantizedGroup quantize_group(GroupJob job, const QuantizeOptions& options,
                              const std::function<void(double)>& progress) {
  const at::NoGradGuard no_grad;
  return GroupQuantizer(std::move(job), options, progress).run();
}

}  // namespace svq::convert
