#include "runtime/file/tensors.h"

namespace svq::rt {

void for_each_linear(const fb::Model& model, const LinearVisitor& visit) {
  visit("embedding", *model.embedding());
  for (uint32_t i = 0; i < length(model.blocks()); ++i) {
    const fb::Block& b = *model.blocks()->Get(i);
    const std::string at = "blocks." + std::to_string(i) + ".";
    visit(at + "q", *b.q());
    visit(at + "k", *b.k());
    visit(at + "v", *b.v());
    visit(at + "o", *b.attn_out());
    visit(at + "gate", *b.gate());
    visit(at + "up", *b.up());
    visit(at + "down", *b.down());
  }
  if (model.head() != nullptr) visit("head", *model.head());
}

void for_each_tensor(const fb::Model& model, const TensorVisitor& visit) {
  const auto optional = [&](const std::string& path, const fb::Tensor* tensor) {
    if (tensor != nullptr) visit(path, *tensor);
  };
  for (uint32_t i = 0; i < length(model.input_transforms()); ++i) {
    optional("input_transforms." + std::to_string(i) + ".scale", model.input_transforms()->Get(i)->scale());
  }
  for (uint32_t i = 0; i < length(model.affine_maps()); ++i) {
    optional("affine_maps." + std::to_string(i) + ".a", model.affine_maps()->Get(i)->a());
    optional("affine_maps." + std::to_string(i) + ".b", model.affine_maps()->Get(i)->b());
  }
  for_each_linear(model, [&](const std::string& path, const fb::Linear& linear) {
    visit(path + ".weight", *linear.weight());
    optional(path + ".out_scale", linear.out_scale());
    optional(path + ".bias", linear.bias());
    optional(path + ".side_u", linear.side_u());
    optional(path + ".side_v", linear.side_v());
  });
  for (uint32_t i = 0; i < length(model.blocks()); ++i) {
    const fb::Block& b = *model.blocks()->Get(i);
    const std::string at = "blocks." + std::to_string(i) + ".";
    optional(at + "attn_norm", b.attn_norm());
    optional(at + "q_norm", b.q_norm());
    optional(at + "k_norm", b.k_norm());
    optional(at + "ffn_norm", b.ffn_norm());
  }
  optional("final_norm", model.final_norm());
}

}  // namespace svq::rt
