#include "converter/job/import.h"

#include <ATen/core/Tensor.h>
#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <cmath>

#include "converter/base/error.h"
#include "converter/job/clock.h"
#include "converter/job/group_writer.h"
#include "converter/job/tensor_bytes.h"
#include "converter/models/float/block.h"
#include "schema/packing.h"

namespace svq::convert {

namespace {

constexpr uint32_t kDim = 4;  // of the affine maps

// A = s I and B = −s · zero point · 1 with s the power of two next to the scale; the rest of it goes into out_scale.
// Nothing is rounded that way but out_scale, in_scale and a zero point that 16 bits do not hold.
float step_of(const ImportedLinear& linear) {
  return std::exp2(std::clamp(std::round(std::log2(std::abs(linear.scale))), -14.0f, 12.0f));
}

// Which of the group's linears a transform or map is taken from; index of each linear into that list.
struct Sharing {
  std::vector<const ImportedLinear*> owners;
  std::vector<int> of;
};
template <typename Equal>
Sharing share(const PlannedGroup& group, const Model& model, Equal equal) {
  Sharing result;
  for (const PlannedLinear& l : group.linears) {
    const ImportedLinear* linear = model.imported(l.slot, group.layer);
    size_t i = 0;
    while (i < result.owners.size() && !equal(*result.owners[i], *linear)) ++i;
    if (i == result.owners.size()) result.owners.push_back(linear);
    result.of.push_back(static_cast<int>(i));
  }
  return result;
}
Sharing share_transforms(const PlannedGroup& group, const Model& model) {
  return share(group, model, [](const auto& a, const auto& b) { return a.in_scale == b.in_scale; });
}
Sharing share_maps(const PlannedGroup& group, const Model& model) {
  return share(group, model,
               [](const auto& a, const auto& b) { return step_of(a) == step_of(b) && a.zero_point == b.zero_point; });
}

std::unique_ptr<fb::Rotation> blocks_of(uint64_t size, uint32_t block) {
  return std::make_unique<fb::Rotation>(fb::RotationKind::Blocks, block, static_cast<uint32_t>(size / block));
}

at::Tensor half(const std::vector<float>& values, const std::string& name) {
  return to_half(at::from_blob(const_cast<float*>(values.data()), {static_cast<int64_t>(values.size())}, at::kFloat),
                 name);
}

}  // namespace

bool imports_codes(const Model& model) { return model.imported(Slot::kQ, 0) != nullptr; }

void import_options(Options& o) {
  if (o.has_budget() || o.bits != 2 || o.method != "unisvq")
    throw Error(o.source.string() +
                ": holds codes of 2 bits already, which are imported as they are: --bits, --size and "
                "--method do not apply");
  o.method = "lcqat";
  o.effort = "none";
}

void layout_imported(fb::PartT& part, const PlannedGroup& group, const Model& model) {
  const uint64_t columns = group.linears[0].columns;
  const Sharing transforms = share_transforms(group, model), maps = share_maps(group, model);
  for (size_t i = 0; i < transforms.owners.size(); ++i) {
    auto transform = std::make_unique<fb::InputTransformT>();
    transform->columns = static_cast<uint32_t>(columns);
    transform->rotation = blocks_of(columns, transforms.owners[i]->block);
    transform->scale = make_tensor(group.name + ".scale" + std::to_string(i), fb::DType::F16, {columns});
    part.input_transforms.push_back(std::move(transform));
  }
  for (size_t i = 0; i < maps.owners.size(); ++i) {
    const std::string name = group.name + ".affine" + std::to_string(i);
    auto affine = std::make_unique<fb::AffineMapsT>();
    affine->dim = kDim;
    affine->a = make_tensor(name + ".a", fb::DType::F16, {1, kDim, kDim});
    affine->b = make_tensor(name + ".b", fb::DType::F16, {1, kDim});
    part.affine_maps.push_back(std::move(affine));
  }
  for (size_t i = 0; i < group.linears.size(); ++i) {
    const PlannedLinear& l = group.linears[i];
    auto linear = std::make_unique<fb::LinearT>();
    linear->name = l.name;
    linear->rows = static_cast<uint32_t>(l.rows);
    linear->columns = static_cast<uint32_t>(l.columns);
    linear->bits = 2;
    linear->weight = make_tensor(l.name + ".weight", fb::DType::Codes, {l.rows, l.columns}, 2);
    linear->input_transform = transforms.of[i];
    linear->affine = maps.of[i];
    linear->output_rotation = blocks_of(l.rows, model.imported(l.slot, group.layer)->block);
    linear->out_scale = make_tensor(l.name + ".out_scale", fb::DType::F16, {l.rows});
    if (l.bias) linear->bias = make_tensor(l.name + ".bias", fb::DType::F32, {l.rows});
    part.linears.push_back(std::move(linear));
    part.relative_errors.push_back(-1);
  }
}

fb::PartT write_imported(const PlannedGroup& group, const Model& model, const Options& options, uint64_t fingerprint,
                         const std::filesystem::path& path) {
  const auto started = Clock::now();
  fb::PartT part = layout_part(group, model, options, fingerprint);
  const Sharing transforms = share_transforms(group, model), maps = share_maps(group, model);
  const auto vector_of = [&](Slot slot) { return read_tensor(model, slot, group.layer, true); };
  PartWriter writer(path, part);
  for (size_t i = 0; i < part.norms.size(); ++i) writer.append(*part.norms[i], bytes_of(vector_of(group.norms[i])));
  for (size_t i = 0; i < transforms.owners.size(); ++i) {
    fb::TensorT& scale = *part.input_transforms[i]->scale;
    writer.append(scale, bytes_of(half(transforms.owners[i]->in_scale, scale.name)));
  }
  for (size_t i = 0; i < maps.owners.size(); ++i) {
    const float step = step_of(*maps.owners[i]);
    std::vector<float> a(kDim * kDim, 0.0f), b(kDim, -step * maps.owners[i]->zero_point);
    for (uint32_t k = 0; k < kDim; ++k) a[k * (kDim + 1)] = step;
    writer.append(*part.affine_maps[i]->a, bytes_of(half(a, part.affine_maps[i]->a->name)));
    writer.append(*part.affine_maps[i]->b, bytes_of(half(b, part.affine_maps[i]->b->name)));
  }
  for (size_t i = 0; i < part.linears.size(); ++i) {
    fb::LinearT& linear = *part.linears[i];
    const PlannedLinear& planned = group.linears[i];
    std::vector<uint8_t> codes(planned.rows * planned.columns), packed(linear.weight->size);
    model.read_codes(planned.slot, group.layer, codes);
    format::pack(codes, planned.rows, planned.columns, 2, packed);
    writer.append(*linear.weight, std::as_bytes(std::span(packed)));
    const ImportedLinear& imported = *model.imported(planned.slot, group.layer);
    std::vector<float> scale = imported.out_scale;
    for (float& s : scale) s *= imported.scale / step_of(imported);
    writer.append(*linear.out_scale, bytes_of(half(scale, linear.out_scale->name)));
    if (linear.bias) writer.append(*linear.bias, bytes_of(vector_of(*planned.bias)));
  }
  part.seconds = seconds_since(started);
  writer.commit();
  return part;
}

}  // namespace svq::convert
