#include "converter/job/group_writer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "converter/base/error.h"
#include "schema/packing.h"

namespace svq::convert {

namespace {

constexpr float kLargestHalf = 65504;

std::span<const std::byte> bytes_of(const at::Tensor& contiguous) {
  return {static_cast<const std::byte*>(contiguous.data_ptr()), contiguous.nbytes()};
}

at::Tensor read_tensor(const Model& model, Slot slot, int layer) {
  const Shape shape = model.shape(slot, layer);
  at::Tensor result = at::empty({static_cast<int64_t>(shape.rows), static_cast<int64_t>(shape.columns)}, at::kFloat);
  model.read(slot, layer, {result.data_ptr<float>(), static_cast<size_t>(result.numel())});
  return result;
}

// f32 → f16; `name` is the tensor as the user knows it.
at::Tensor to_half(const at::Tensor& values, const std::string& name) {
  const float largest = values.numel() ? values.abs().max().item<float>() : 0.0f;
  if (!(largest <= kLargestHalf)) {
    throw Error(name + ": the value " + std::to_string(largest) + " exceeds the range of 16-bit floats (65504)");
  }
  return values.to(at::kHalf).contiguous();
}

void append_half_weight(PartWriter& writer, fb::TensorT& tensor, const PlannedLinear& linear, const Model& model,
                        int layer) {
  const uint64_t step = std::max<uint64_t>(1, (uint64_t{8} << 20) / linear.columns);
  for (uint64_t begin = 0; begin < linear.rows; begin += step) {
    const uint64_t end = std::min(linear.rows, begin + step);
    at::Tensor rows = at::empty({static_cast<int64_t>(end - begin), static_cast<int64_t>(linear.columns)}, at::kFloat);
    model.read_rows(linear.slot, layer, begin, end, {rows.data_ptr<float>(), static_cast<size_t>(rows.numel())});
    writer.append(tensor, bytes_of(to_half(rows, linear.name)));
  }
}

void append_codes(PartWriter& writer, fb::TensorT& tensor, const QuantizedLinear& linear) {
  const at::Tensor codes = linear.codes.contiguous();
  std::vector<uint8_t> packed(tensor.size);
  format::pack({codes.data_ptr<uint8_t>(), codes.nbytes()}, static_cast<uint64_t>(linear.rows),
               static_cast<uint64_t>(linear.columns), static_cast<uint32_t>(linear.bits), packed);
  writer.append(tensor, std::as_bytes(std::span(packed)));
}

void require(bool condition, const PlannedGroup& group, const char* what) {
  if (!condition) throw Error("internal error: " + group.name + ": the quantizer's " + what + " differs from the plan");
}

}  // namespace

QuantizeOptions quantize_options(const Options& o) {
  QuantizeOptions q;
  q.method = o.method == "gptq" ? Method::kGptq : o.method == "rtn" ? Method::kRtn : Method::kUnisvq;
  q.rotation = o.rotation == "blocks" ? RotationChoice::kBlocks
               : o.rotation == "none" ? RotationChoice::kNone
                                      : RotationChoice::kMixed;
  q.lattice = o.lattice == "orthogonal" ? LatticeInit::kOrthogonal : LatticeInit::kIdentity;
  q.group_dim = o.group;
  q.columns_per_map = o.map_columns;
  q.damping = o.damping;
  q.descent_passes = o.descent;
  q.seed = o.seed;
  return q;
}

fb::PartT write_group(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint,
                      const at::Tensor& hessian, const std::filesystem::path& path,
                      const std::function<void(double)>& progress) {
  const auto started = std::chrono::steady_clock::now();
  fb::PartT part = layout_part(group, model, options, fingerprint);
  QuantizedGroup quantized;
  if (group.packed()) {
    GroupJob job;
    job.name = group.name;
    job.hessian = hessian;
    if (group.folded_norm) job.input_norm = read_tensor(model, *group.folded_norm, group.layer).flatten();
    for (const PlannedLinear& l : group.linears) {
      if (!l.packed()) continue;
      // The embedding's rows are looked up one by one, so no rotation may mix them; the head is treated alike.
      const bool in_block = group.layer >= 0;
      job.linears.push_back({l.name, read_tensor(model, l.slot, group.layer), l.bits, in_block});
    }
    quantized = quantize_group(job, quantize_options(options), progress);
    require(quantized.maps.size() == part.affine_maps.size(), group, "number of affine maps");
    part.input_transforms[0]->rotation = std::make_unique<fb::Rotation>(quantized.rotation);
  }

  PartWriter writer(path, part);
  for (size_t i = 0; i < part.norms.size(); ++i) {
    writer.append(*part.norms[i], bytes_of(read_tensor(model, group.norms[i], group.layer)));
  }
  for (auto& transform : part.input_transforms) {
    require(transform->scale || !quantized.in_scale.defined(), group, "input scale");
    if (!transform->scale) continue;
    const at::Tensor scale =
        quantized.in_scale.defined() ? quantized.in_scale : at::ones({quantized.columns}, at::kFloat);
    writer.append(*transform->scale, bytes_of(to_half(scale, transform->scale->name)));
  }
  for (size_t i = 0; i < part.affine_maps.size(); ++i) {
    fb::AffineMapsT& maps = *part.affine_maps[i];
    const AffineMapsData& data = quantized.maps[i];
    require(data.dim == maps.dim && static_cast<uint32_t>(data.columns_per_map) == maps.columns_per_map, group,
            "affine map");
    writer.append(*maps.a, bytes_of(to_half(data.a, maps.a->name)));
    writer.append(*maps.b, bytes_of(to_half(data.b, maps.b->name)));
  }
  size_t next = 0;  // of quantized.linears
  for (size_t i = 0; i < part.linears.size(); ++i) {
    fb::LinearT& linear = *part.linears[i];
    const PlannedLinear& planned = group.linears[i];
    if (planned.packed()) {
      QuantizedLinear& q = quantized.linears.at(next++);
      require(q.name == planned.name && q.bits == planned.bits, group, "order of linears");
      linear.affine = q.affine;
      linear.output_rotation = std::make_unique<fb::Rotation>(q.output_rotation);
      part.relative_errors[i] = q.relative_error;
      append_codes(writer, *linear.weight, q);
      q.codes.reset();
      writer.append(*linear.out_scale, bytes_of(to_half(q.out_scale, linear.out_scale->name)));
    } else {
      append_half_weight(writer, *linear.weight, planned, model, group.layer);
    }
    if (linear.bias) writer.append(*linear.bias, bytes_of(read_tensor(model, *planned.bias, group.layer)));
  }
  part.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  writer.commit();
  return part;
}

}  // namespace svq::convert
