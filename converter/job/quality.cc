#include "converter/job/quality.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "converter/base/error.h"
#include "converter/job/group_writer.h"
#include "converter/job/prefix.h"
#include "converter/models/float/block.h"
#include "converter/models/float/sample.h"
#include "converter/models/float/vocabulary.h"
#include "converter/train/agreement_sum.h"
#include "converter/train/student.h"
#include "svqrt/svqrt.hpp"

namespace svq::convert {

namespace {

// What the runtime says of `file` becomes the converter's sentence.
template <class Run>
auto run_file(const std::filesystem::path& file, const Run& run) {
  try {
    return run(svq::Model(file.string()));
  } catch (const svq::Error& error) {
    throw Error(file.string() + ": the runtime refuses the file just written: " + error.what());
  }
}

}  // namespace

Agreement measure_parts(const Model& model, const Plan& plan, const std::vector<const fb::PartT*>& parts,
                        const std::vector<std::filesystem::path>& files, const FloatPass& pass,
                        const at::Tensor& tokens, const std::function<void(double)>& progress) {
  const at::NoGradGuard no_grad;
  const auto& a = model.architecture();
  const int64_t length = tokens.size(1);
  Student student(model);  // ends only: blocks come and go
  student.tied = plan.tied;
  StudentBlock block;
  const RopeTables rope = student.rope(length);
  at::Tensor source = pass.embed(tokens), hidden;
  for (size_t i = 0; i < plan.groups.size(); ++i) {
    const PlannedGroup& planned = plan.groups[i];
    const GroupContent content = planned.imported ? GroupContent{} : read_content(*parts[i], files[i]);
    if (planned.kind == GroupKind::kFinalNorm) {
      student.final_norm = content.float_tensor("final_norm");
      continue;
    }
    // What the source's codes stand for, rather than what was written: the runtime has to agree with it.
    StudentGroup group = planned.imported ? make_float_group(planned, model, /*bf16=*/false)
                                          : make_student_group(planned, model, content, /*bf16=*/false);
    const std::string prefix = "blocks." + std::to_string(planned.layer) + ".";
    if (planned.kind == GroupKind::kEmbedding) {
      student.embedding = std::move(group);
      hidden = student.embed(tokens);
      if (!plan.tied) student.embedding = {};
      continue;
    }
    if (planned.kind == GroupKind::kHead) {
      student.head = std::move(group);
      continue;
    }
    group_of(block, planned.kind) = std::move(group);
    if (planned.kind == GroupKind::kAttnIn) {
      const auto norm = [&](const char* name, Slot slot) {
        if (!planned.imported) return content.float_tensor(prefix + name);
        return model.has(slot, planned.layer) ? read_tensor(model, slot, planned.layer, true) : at::Tensor();
      };
      block.q_norm = norm("q_norm", Slot::kQNorm);
      block.k_norm = norm("k_norm", Slot::kKNorm);
    }
    if (planned.kind != GroupKind::kDownIn) continue;
    const double done = static_cast<double>(planned.layer) / a.n_layers, step = 0.9 / a.n_layers;
    pass.block(planned.layer, source, {}, [&](double fraction) { progress(0.9 * done + step * fraction / 2); });
    for (int64_t s = 0; s < hidden.size(0); ++s) {
      at::Tensor one = hidden.narrow(0, s, 1);
      one.copy_(block.forward(one, a, rope));
    }
    progress(0.9 * done + step);
  }
  const ForwardOptions& forward = pass.forward_options();
  const at::Tensor head = read_tensor(model, head_slot(model), -1, false);
  AgreementSum sum;
  for (int64_t s = 0; s < tokens.size(0); ++s) {
    const at::Tensor p = final_norm(model, source[s].to(forward.device), forward).to(at::kCPU).to(at::kFloat);
    const at::Tensor q = student.head_input(hidden[s]);
    for (int64_t begin = 0; begin < length; begin += kTokenSlice) {
      const int64_t count = std::min(kTokenSlice, length - begin), scored = std::min(count, length - 1 - begin);
      sum.add(at::log_softmax(at::linear(p.narrow(0, begin, count), head), -1),
              at::log_softmax(student.logits(q.narrow(0, begin, count)), -1), tokens[s].narrow(0, begin + 1, scored));
    }
    progress(0.9 + 0.1 * static_cast<double>(s + 1) / static_cast<double>(tokens.size(0)));
  }
  return sum.result();
}

double runtime_perplexity(const std::filesystem::path& file, const at::Tensor& tokens, int activations, int threads,
                          const std::function<void(double)>& progress) {
  return run_file(file, [&](const svq::Model& model) {
    const int64_t vocab = model.info().vocab, length = tokens.size(1);
    svq::Session session(model, {.context = length, .threads = threads, .activations = activations});
    // Up to 256 MB of logits; with float activations the runtime decodes all codes anew for each 256 tokens.
    const int64_t slice = std::clamp<int64_t>((int64_t{256} << 20) / (4 * vocab), 1, 256);
    double sum = 0;
    for (int64_t s = 0; s < tokens.size(0); ++s) {
      session.truncate(0);
      const at::Tensor row = tokens[s].to(at::kInt).contiguous();
      const int32_t* ids = row.data_ptr<int32_t>();
      for (int64_t begin = 0; begin + 1 < length; begin += slice) {
        const int64_t count = std::min(slice, length - 1 - begin);
        const std::vector<float> logits = session.eval_logits({ids + begin, ids + begin + count});
        for (int64_t i = 0; i < count; ++i) {
          const float* l = logits.data() + i * vocab;
          const double peak = *std::max_element(l, l + vocab);
          double total = 0;
          for (int64_t v = 0; v < vocab; ++v) total += std::exp(static_cast<double>(l[v]) - peak);
          sum += peak + std::log(total) - static_cast<double>(l[ids[begin + i + 1]]);
        }
        progress(static_cast<double>(s * length + begin + count) / static_cast<double>(tokens.numel()));
      }
    }
    return std::exp(sum / static_cast<double>(tokens.size(0) * (length - 1)));
  });
}

at::Tensor runtime_tokens(const std::filesystem::path& file, int64_t sequences, int64_t length, uint64_t seed,
                          int threads) {
  return run_file(file, [&](const svq::Model& model) {
    const double vocab = model.info().vocab;
    at::Tensor tokens = at::empty({sequences, length}, at::kLong);
    for (int64_t s = 0; s < sequences; ++s) {
      svq::Session session(model, {.context = length, .threads = threads});
      session.set_sampler(SVQ_SAMPLER_SEED, static_cast<double>((seed + static_cast<uint64_t>(s)) % (1u << 30)));
      svq_token token = static_cast<svq_token>(uniform(seed, static_cast<uint64_t>(s), 0) * vocab);
      int64_t* out = tokens.data_ptr<int64_t>() + s * length;
      for (int64_t i = 0; i < length; ++i) {
        out[i] = token;
        if (i + 1 == length) break;
        session.eval({token});
        token = session.sample();
      }
    }
    return tokens;
  });
}

void require_agreement(const RuntimeCheck& c, const std::filesystem::path& output) {
  if (std::abs(c.difference()) <= kMostRuntimeDifference) return;  // false for NaN
  throw Error(fmt::format(
      "{}: the runtime gives the written file perplexity {:.4f} on {} tokens where the converter computes {:.4f}, "
      "{:.2f} % apart; at most {:.1f} % was expected",
      output.string(), c.runtime_float, c.tokens, c.converter, 100 * std::abs(c.difference()),
      100 * kMostRuntimeDifference));
}

}  // namespace svq::convert
