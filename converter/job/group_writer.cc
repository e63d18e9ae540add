#include "converter/job/group_writer.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>

#include <algorithm>
#include <cmath>

#include "converter/base/error.h"
#include "converter/job/clock.h"
#include "converter/job/import.h"
#include "converter/write/checksum.h"
#include "converter/job/prefix.h"
#include "converter/job/tensor_bytes.h"
#include "converter/models/float/block.h"
#include "schema/packing.h"

namespace svq::convert {

namespace {

constexpr float kLargestHalf = 65504;

void append_half_weight(PartWriter& writer, fb::TensorT& tensor, const PlannedLinear& linear, const Model& model,
                        int layer) {
  const uint64_t step = std::max<uint64_t>(1, (uint64_t{8} << 20) / linear.columns);
  for (uint64_t begin = 0; begin < linear.rows; begin += step) {
    const uint64_t end = std::min(linear.rows, begin + step);
    const at::Tensor rows =
        read_tensor_rows(model, linear.slot, layer, static_cast<int64_t>(begin), static_cast<int64_t>(end));
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

at::Tensor to_half(const at::Tensor& values, const std::string& name) {
  const float largest = values.numel() ? values.abs().max().item<float>() : 0.0f;
  if (!(largest <= kLargestHalf)) {
    throw Error(name + ": the value " + std::to_string(largest) + " exceeds the range of 16-bit floats (65504)");
  }
  return values.to(at::kHalf).contiguous();
}

QuantizeOptions quantize_options(const Options& o) {
  QuantizeOptions q;
  q.method = o.method == "gptq" ? Method::kGptq : o.method == "rtn" ? Method::kRtn : Method::kUnisvq;
  q.rotation = o.rotation == "blocks" ? RotationChoice::kBlocks
               : o.rotation == "none" ? RotationChoice::kNone
                                      : RotationChoice::kMixed;
  q.lattice = o.lattice == "orthogonal" ? LatticeInit::kOrthogonal
              : o.lattice == "d4"       ? LatticeInit::kD4
                                        : LatticeInit::kIdentity;
  q.fit_out_scale = o.method != "quip";
  q.group_dim = o.group;
  q.columns_per_map = o.map_columns;
  q.damping = o.damping;
  q.output_damping = o.output_damping;
  q.descent_passes = o.descent;
  q.search_moves = o.search_moves();
  q.seed = o.seed;
  return q;
}

fb::PartT write_group(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint,
                      at::Tensor hessian, std::unique_ptr<Correction> correction,
                      const std::function<at::Tensor(const PlannedLinear&)>& output_hessian,
                      const std::filesystem::path& path, const std::function<void(double)>& progress) {
  if (group.imported) return write_imported(group, model, options, fingerprint, path);
  const auto started = Clock::now();
  GroupContent content;
  if (group.packed()) {
    GroupJob job;
    job.name = group.name;
    job.hessian = std::move(hessian);
    if (group.folded_norm) job.input_norm = read_tensor(model, *group.folded_norm, group.layer, true);
    for (const PlannedLinear& l : group.linears) {
      if (!l.packed()) continue;
      // The embedding's rows are looked up one by one, so no rotation may mix them; the head is treated alike.
      const bool in_block = group.layer >= 0;
      at::Tensor weight = read_tensor(model, l.slot, group.layer, false);
      if (correction) weight = correction->apply(weight);
      job.linears.push_back(
          {l.name, std::move(weight), l.bits, in_block, output_hessian ? output_hessian(l) : at::Tensor()});
    }
    correction.reset();  // as large as what comes
    content.quantized = quantize_group(std::move(job), quantize_options(options), progress);
  }
  const double seconds = seconds_since(started);
  return write_part(group, model, options, fingerprint, content, seconds, path);
}

fb::PartT write_part(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint,
                     const GroupContent& content, double seconds, const std::filesystem::path& path) {
  fb::PartT part = layout_part(group, model, options, fingerprint);
  part.seconds = seconds;
  const QuantizedGroup& quantized = content.quantized;
  if (group.packed()) {
    require(quantized.maps.size() == part.affine_maps.size(), group, "number of affine maps");
    part.input_transforms[0]->rotation = std::make_unique<fb::Rotation>(quantized.rotation);
  }
  const auto float_tensor = [&](const fb::TensorT& tensor, Slot slot) {
    const at::Tensor own = content.float_tensor(tensor.name);
    return own.defined() ? own.contiguous() : read_tensor(model, slot, group.layer, true);
  };

  PartWriter writer(path, part);
  for (size_t i = 0; i < part.norms.size(); ++i) {
    writer.append(*part.norms[i], bytes_of(float_tensor(*part.norms[i], group.norms[i])));
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
      const QuantizedLinear& q = quantized.linears.at(next++);
      require(q.name == planned.name && q.bits == planned.bits, group, "order of linears");
      linear.affine = q.affine;
      linear.output_rotation = std::make_unique<fb::Rotation>(q.output_rotation);
      part.relative_errors[i] = q.relative_error;
      append_codes(writer, *linear.weight, q);
      writer.append(*linear.out_scale, bytes_of(to_half(q.out_scale, linear.out_scale->name)));
    } else {
      append_half_weight(writer, *linear.weight, planned, model, group.layer);
    }
    if (linear.bias) writer.append(*linear.bias, bytes_of(float_tensor(*linear.bias, *planned.bias)));
  }
  writer.commit();
  return part;
}

GroupContent read_content(const fb::PartT& part, const std::filesystem::path& path) {
  GroupContent content;
  ReadFile file;
  if (!file.open(path)) throw Error(path.string() + ": cannot be opened");
  const auto bytes = [&](const fb::TensorT& tensor, std::span<std::byte> out) {
    if (out.size() != tensor.size || !file.read(kPartDataOffset + tensor.offset, out))
      throw Error(path.string() + ": tensor " + tensor.name + " cannot be read");
  };
  const auto floats = [&](const fb::TensorT& tensor) {
    std::vector<int64_t> shape(tensor.shape.begin(), tensor.shape.end());
    at::Tensor values = at::empty(shape, tensor.dtype == fb::DType::F16 ? at::kHalf : at::kFloat);
    bytes(tensor, {static_cast<std::byte*>(values.data_ptr()), values.nbytes()});
    return values.to(at::kFloat);
  };
  for (const auto& norm : part.norms) content.floats[norm->name] = floats(*norm);
  QuantizedGroup& q = content.quantized;
  q.name = part.name;
  if (!part.input_transforms.empty()) {
    const fb::InputTransformT& transform = *part.input_transforms[0];
    q.columns = transform.columns;
    if (transform.rotation) q.rotation = *transform.rotation;
    if (transform.scale) q.in_scale = floats(*transform.scale);
  }
  for (const auto& maps : part.affine_maps) {
    q.maps.push_back({maps->dim, static_cast<int>(maps->columns_per_map), floats(*maps->a), floats(*maps->b)});
  }
  for (size_t i = 0; i < part.linears.size(); ++i) {
    const fb::LinearT& l = *part.linears[i];
    if (l.bias) content.floats[l.bias->name] = floats(*l.bias);
    if (l.weight->dtype != fb::DType::Codes) continue;
    QuantizedLinear linear;
    linear.name = l.name;
    linear.rows = l.rows;
    linear.columns = l.columns;
    linear.bits = l.bits;
    linear.affine = l.affine;
    if (l.output_rotation) linear.output_rotation = *l.output_rotation;
    linear.relative_error = part.relative_errors[i];
    std::vector<uint8_t> packed(l.weight->size);
    bytes(*l.weight, std::as_writable_bytes(std::span(packed)));
    linear.codes = at::empty({linear.rows, linear.columns}, at::kByte);
    format::unpack(packed, l.rows, l.columns, l.bits, {linear.codes.data_ptr<uint8_t>(), linear.codes.nbytes()});
    linear.out_scale = floats(*l.out_scale);
    q.linears.push_back(std::move(linear));
  }
  return content;
}

}  // namespace svq::convert
