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
#include "converter/train/student.h"
#include "svqrt/svqrt.h"

namespace svq::convert {

namespace {

constexpr int64_t kTokenSlice = 256;  // positions whose logits exist at a time

class AgreementSum {
 public:
  // log_p, log_q [n, vocab] of source and quantized; next [m ≤ n] i64: the tokens that follow the first m positions.
  void add(const at::Tensor& log_p, const at::Tensor& log_q, const at::Tensor& next) {
    kl_ += (log_p.exp() * (log_p - log_q)).sum(-1).sum(at::kDouble).item<double>();
    same_ += log_p.argmax(-1).eq(log_q.argmax(-1)).sum().item<double>();
    positions_ += static_cast<double>(log_p.size(0));
    const at::Tensor index = next.unsqueeze(1);
    const auto nll = [&](const at::Tensor& log) {
      return -log.narrow(0, 0, next.size(0)).gather(1, index).sum(at::kDouble).item<double>();
    };
    nll_ += nll(log_q);
    source_nll_ += nll(log_p);
    predicted_ += static_cast<double>(next.size(0));
  }
  Agreement result() const {
    const double n = std::max(1.0, positions_), m = std::max(1.0, predicted_);
    return {kl_ / n, std::exp(nll_ / m), std::exp(source_nll_ / m), same_ / n};
  }

 private:
  double kl_ = 0, same_ = 0, positions_ = 0, nll_ = 0, source_nll_ = 0, predicted_ = 0;
};

struct Free {
  void operator()(svq_model* m) const { svq_model_free(m); }
  void operator()(svq_session* s) const { svq_session_free(s); }
  void operator()(svq_session_params* p) const { svq_session_params_free(p); }
};
using ModelHandle = std::unique_ptr<svq_model, Free>;
using SessionHandle = std::unique_ptr<svq_session, Free>;

void check(svq_status status, const std::filesystem::path& file) {
  if (status != SVQ_OK) throw Error(file.string() + ": the runtime refuses the file just written: " + svq_last_error());
}

ModelHandle load(const std::filesystem::path& file) {
  svq_model* model = nullptr;
  check(svq_model_load(file.c_str(), nullptr, &model), file);
  return ModelHandle(model);
}

SessionHandle open_session(svq_model* model, const std::filesystem::path& file, int64_t context, int activations,
                           int threads) {
  const std::unique_ptr<svq_session_params, Free> params(svq_session_params_create());
  svq_session_params_set(params.get(), SVQ_SESSION_CONTEXT, context);
  svq_session_params_set(params.get(), SVQ_SESSION_THREADS, threads);
  svq_session_params_set(params.get(), SVQ_SESSION_ACTIVATIONS, activations);
  svq_session* session = nullptr;
  check(svq_session_create(model, params.get(), &session), file);
  return SessionHandle(session);
}

uint32_t vocabulary(const svq_model* model) {
  svq_model_info info{};
  svq_model_get_info(model, &info);
  return info.vocab;
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
    switch (planned.kind) {
      case GroupKind::kEmbedding:
        student.embedding = std::move(group);
        hidden = student.embed(tokens);
        if (!plan.tied) student.embedding = {};
        break;
      case GroupKind::kAttnIn:
        block.attn_in = std::move(group);
        block.q_norm = content.float_tensor(prefix + "q_norm");
        block.k_norm = content.float_tensor(prefix + "k_norm");
        if (planned.imported && model.has(Slot::kQNorm, planned.layer)) {
          block.q_norm = read_tensor(model, Slot::kQNorm, planned.layer, true);
          block.k_norm = read_tensor(model, Slot::kKNorm, planned.layer, true);
        }
        break;
      case GroupKind::kOIn:
        block.o_in = std::move(group);
        break;
      case GroupKind::kFfnIn:
        block.ffn_in = std::move(group);
        break;
      case GroupKind::kDownIn: {
        block.down_in = std::move(group);
        const double done = static_cast<double>(planned.layer) / a.n_layers, step = 0.9 / a.n_layers;
        pass.block(planned.layer, source, {}, [&](double fraction) { progress(0.9 * done + step * fraction / 2); });
        for (int64_t s = 0; s < hidden.size(0); ++s) {
          at::Tensor one = hidden.narrow(0, s, 1);
          one.copy_(block.forward(one, a, rope));
        }
        progress(0.9 * done + step);
        break;
      }
      default:
        student.head = std::move(group);
    }
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
  const ModelHandle model = load(file);
  const int64_t vocab = vocabulary(model.get()), length = tokens.size(1);
  const SessionHandle session = open_session(model.get(), file, length, activations, threads);
  const int64_t slice = std::clamp<int64_t>((int64_t{16} << 20) / (4 * vocab), 1, 64);
  std::vector<float> logits(static_cast<size_t>(slice * vocab));
  double sum = 0;
  for (int64_t s = 0; s < tokens.size(0); ++s) {
    check(svq_session_truncate(session.get(), 0), file);
    const at::Tensor row = tokens[s].to(at::kInt).contiguous();
    const int32_t* ids = row.data_ptr<int32_t>();
    for (int64_t begin = 0; begin + 1 < length; begin += slice) {
      const int64_t count = std::min(slice, length - 1 - begin);
      check(svq_session_eval_logits(session.get(), ids + begin, static_cast<size_t>(count), logits.data()), file);
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
}

at::Tensor runtime_tokens(const std::filesystem::path& file, int64_t sequences, int64_t length, uint64_t seed,
                          int threads) {
  const ModelHandle model = load(file);
  const double vocab = vocabulary(model.get());
  at::Tensor tokens = at::empty({sequences, length}, at::kLong);
  for (int64_t s = 0; s < sequences; ++s) {
    const SessionHandle session = open_session(model.get(), file, length, 8, threads);
    svq_session_set_sampler(session.get(), SVQ_SAMPLER_SEED,
                            static_cast<double>((seed + static_cast<uint64_t>(s)) % (1u << 30)));
    svq_token token = static_cast<svq_token>(uniform(seed, static_cast<uint64_t>(s), 0) * vocab);
    int64_t* out = tokens.data_ptr<int64_t>() + s * length;
    for (int64_t i = 0; i < length; ++i) {
      out[i] = token;
      if (i + 1 == length) break;
      check(svq_session_eval(session.get(), &token, 1), file);
      check(svq_session_sample(session.get(), &token), file);
    }
  }
  return tokens;
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
