#include "converter/train/distill.h"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <string>

#include "converter/quantize/random.h"
#include "converter/train/agreement_sum.h"
#include "converter/train/parallel.h"
#include "converter/train/pointwise.h"

namespace svq::convert {
namespace {

// In the type of the head.
at::Tensor teacher_logits(const Teacher& teacher, const at::Tensor& hidden) {
  return at::linear(hidden.to(teacher.head.scalar_type()), teacher.head);
}

}  // namespace

Distillation::Distillation(Student& student, const Teacher& teacher, uint64_t bytes_for_activations, bool side_by_side)
    : student_(student), teacher_(teacher), replicas_(student, side_by_side) {
  kept_blocks_ = blocks_to_keep(student, teacher.tokens.size(1), bytes_for_activations);
}

// The block's input; what the transforms of inputs read; H_outᵀ (acc + beta 1) of every linear; q, k, v before a norm
// of heads, and after rope; what attention gave; gate and up. Linears in floats keep less.
uint64_t activation_bytes(const fb::ArchitectureT& a, int64_t length, at::ScalarType product, bool head_norms) {
  const uint64_t p = at::elementSize(product), f = sizeof(float), norms = head_norms ? 1 : 0;
  const uint64_t attention = uint64_t{a.n_heads} * a.head_dim, kv = uint64_t{a.n_kv_heads} * a.head_dim;
  const uint64_t per_token = uint64_t{a.hidden} * (4 * f + 2 * p) + attention * ((3 + norms) * f + p) +
                             kv * ((2 + norms) * f + 2 * p) + uint64_t{a.intermediate} * (3 * f + 2 * p);
  return per_token * static_cast<uint64_t>(length);
}

int64_t blocks_to_keep(const Student& student, int64_t length, uint64_t bytes) {
  const StudentBlock& block = student.blocks.at(0);
  const StudentLinear& l = block.attn_in.linears.at(0);
  const at::ScalarType product = l.codes.defined() ? l.codes.scalar_type() : l.product_type;
  const uint64_t one = activation_bytes(student.architecture(), length, product, block.q_norm.defined());
  return static_cast<int64_t>(std::min<uint64_t>(student.blocks.size(), bytes / one));
}

double Distillation::accumulate(const std::vector<int64_t>& sequences) {
  const double weight = 1.0 / static_cast<double>(sequences.size());
  return replicas_.accumulate(static_cast<int64_t>(sequences.size()), [&](const Student& student, int64_t i) {
    return accumulate_one(student, sequences[static_cast<size_t>(i)], weight);
  });
}

double Distillation::accumulate_one(const Student& student, int64_t sequence, double weight) const {
  const at::Tensor tokens = teacher_.tokens.narrow(0, sequence, 1), wanted = teacher_.hidden[sequence];
  const double length = static_cast<double>(tokens.size(1));
  double loss = 0;
  backward_through(student, tokens, kept_blocks_, [&](int64_t begin, const at::Tensor& logits) {
    at::Tensor gradient = logits;  // nobody reads the logits after this
    loss += kl_gradient(teacher_logits(teacher_, wanted.narrow(0, begin, logits.size(0))), gradient, weight / length);
    return gradient;
  });
  return loss * weight / length;
}

void backward_through(const Student& student, const at::Tensor& tokens, int64_t kept_blocks,
                      const std::function<at::Tensor(int64_t begin, const at::Tensor& logits)>& of_logits) {
  const at::AutoGradMode grad(true);
  const int64_t length = tokens.size(1);
  const RopeTables rope = student.rope(length);
  const auto& a = student.architecture();
  const size_t first_kept = student.blocks.size() - static_cast<size_t>(kept_blocks);

  const at::Tensor embedded = student.embed(tokens);
  std::vector<at::Tensor> inputs, outputs;
  at::Tensor h = embedded.detach();
  for (size_t l = 0; l < student.blocks.size(); ++l) {
    const StudentBlock& block = student.blocks[l];
    if (l < student.first_trained_block) {
      const at::NoGradGuard no_grad;
      h = block.forward(h, a, rope);
      continue;
    }
    inputs.push_back(h.detach().requires_grad_(true));
    if (l >= first_kept) {
      outputs.push_back(block.forward(inputs.back(), a, rope));
      h = outputs.back().detach();
    } else {
      const at::NoGradGuard no_grad;
      h = block.forward(inputs.back(), a, rope);
    }
  }

  const at::Tensor last = h.detach().requires_grad_(true);
  const at::Tensor normalised = student.head_input(last).view({length, -1});
  const at::Tensor head_in = normalised.detach().requires_grad_(true);
  for (int64_t begin = 0; begin < length; begin += kTokenSlice) {
    const at::Tensor logits = student.logits(head_in.narrow(0, begin, std::min(kTokenSlice, length - begin)));
    at::Tensor d;
    {
      const at::NoGradGuard no_grad;
      d = of_logits(begin, logits.detach());
    }
    torch::autograd::backward({logits}, {d});
  }
  torch::autograd::backward({normalised}, {head_in.grad()});
  at::Tensor d = last.grad();
  for (size_t l = student.blocks.size(); l-- > student.first_trained_block;) {
    at::Tensor out;
    if (l >= first_kept) {
      out = outputs.back();
      outputs.pop_back();
    } else {
      out = student.blocks[l].forward(inputs.back(), a, rope);
    }
    torch::autograd::backward({out}, {d});
    d = inputs.back().grad();
    inputs.pop_back();
  }
  if (embedded.requires_grad() && student.first_trained_block == 0) torch::autograd::backward({embedded}, {d});
}

Agreement Distillation::measure(const std::vector<int64_t>& sequences) const {
  std::vector<AgreementSum> sums(sequences.size());
  side_by_side(static_cast<int64_t>(sequences.size()), [&](int64_t i) {
    const at::NoGradGuard no_grad;  // a property of the thread
    const int64_t s = sequences[static_cast<size_t>(i)];
    const at::Tensor tokens = teacher_.tokens.narrow(0, s, 1);
    const int64_t length = tokens.size(1);
    const at::Tensor x = student_.head_input(student_.hidden(tokens)).view({length, -1});
    for (int64_t begin = 0; begin < length; begin += kTokenSlice) {
      const int64_t count = std::min(kTokenSlice, length - begin);
      const at::Tensor log_q = at::log_softmax(student_.logits(x.narrow(0, begin, count)), -1);
      const at::Tensor log_p =
          at::log_softmax(teacher_logits(teacher_, teacher_.hidden[s].narrow(0, begin, count)).to(at::kFloat), -1);
      const int64_t scored = std::min(count, length - 1 - begin);
      sums[static_cast<size_t>(i)].add(log_p, log_q, tokens[0].narrow(0, begin + 1, scored));
    }
  });
  AgreementSum sum;
  for (const AgreementSum& one : sums) sum.add(one);
  return sum.result();
}

std::vector<int64_t> sequences_of_step(int64_t step, int64_t per_step, const std::vector<int64_t>& sequences,
                                       uint64_t seed) {
  const int64_t n = static_cast<int64_t>(sequences.size());
  std::vector<int64_t> chosen;
  int64_t epoch = -1;
  std::vector<int64_t> order;
  for (int64_t i = step * per_step; i < (step + 1) * per_step; ++i) {
    if (i / n != epoch) {
      epoch = i / n;
      order = sequences;
      NamedRandom random(seed, "epoch " + std::to_string(epoch));
      random.shuffle(std::span(order));
    }
    chosen.push_back(order[static_cast<size_t>(i % n)]);
  }
  return chosen;
}

}  // namespace svq::convert
