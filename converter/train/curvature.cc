#include "converter/train/curvature.h"

#include "converter/quantize/random.h"
#include "converter/train/distill.h"

namespace svq::convert {

OutputCurvature::OutputCurvature(Student& model, int64_t most_rows) : model_(model) {
  for (StudentBlock& block : model.blocks) {
    for (StudentGroup* group : {&block.attn_in, &block.o_in, &block.ffn_in, &block.down_in}) {
      group->on_output_gradient = [this, group, most_rows](size_t i, const at::Tensor& g) {
        const StudentLinear& l = group->linears[i];
        if (l.rows <= most_rows) sums_.try_emplace(l.name, l.rows).first->second.add(g);
      };
    }
  }
}

void OutputCurvature::add(const at::Tensor& tokens, int64_t sequence, uint64_t seed, int64_t kept_blocks) {
  NamedRandom random(seed, "labels " + std::to_string(sequence));
  backward_through(model_, tokens, kept_blocks, [&](int64_t, const at::Tensor& logits) {
    at::Tensor p = at::softmax(logits, -1);
    // Inverse of the cumulated probabilities at one uniform number a position.
    at::Tensor at = at::empty({p.size(0), 1}, at::kFloat);
    for (int64_t i = 0; i < p.size(0); ++i) at.data_ptr<float>()[i] = static_cast<float>(random.uniform());
    const at::Tensor cumulated = p.cumsum(-1, at::kDouble).to(at::kFloat).contiguous();
    const at::Tensor label = at::searchsorted(cumulated, at).clamp_max_(p.size(1) - 1);
    return p.scatter_add_(1, label, at::full_like(at, -1.0));
  });
}

}  // namespace svq::convert
