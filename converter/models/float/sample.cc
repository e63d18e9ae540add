#include "converter/models/float/sample.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/softmax.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <string>

#include "converter/base/error.h"
#include "converter/models/float/decoder.h"
#include "converter/models/float/startup.h"

namespace svq::convert {

namespace {

constexpr int64_t kMaxBatch = 128;
constexpr int64_t kLeastBatch = 32;  // fewer take little less time than these
constexpr int64_t kTrial = 16;       // positions after which the time that a batch takes is known

uint64_t mix(uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

// All of the machine's memory, not what is free now: the batch, and with it the rounding, must not depend on the
// moment.
uint64_t budget_of(uint64_t asked) {
  if (asked > 0) return asked;
  return static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE)) / 2;
}

// One sequence under way.
struct Sequence {
  const SequenceScript* script;
  std::deque<int64_t> given;  // not yet taken
  size_t next_turn = 0;

  // What stands at the next position if the model's choice is `chosen`.
  int64_t follow(int64_t chosen, bool is_end) {
    if (is_end && !script->turns.empty()) {
      const std::vector<int64_t>& turn = script->turns[next_turn++ % script->turns.size()];
      given.assign(turn.begin(), turn.end());
      if (!given.empty()) return take();
    }
    return chosen;
  }
  int64_t take() {
    const int64_t token = given.front();
    given.pop_front();
    return token;
  }
};

}  // namespace

uint64_t weight_budget(uint64_t memory_budget) { return budget_of(memory_budget) / 4 * 3; }

double uniform(uint64_t seed, uint64_t sequence, uint64_t position) {
  return static_cast<double>(mix(mix(mix(seed) ^ sequence) ^ position) >> 11) * 0x1p-53;
}

int64_t pick(const float* p, int64_t n, double u) {
  double total = 0;
  for (int64_t i = 0; i < n; ++i) total += p[i];
  const double target = u * total;
  double sum = 0;
  int64_t last_possible = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (p[i] <= 0) continue;
    sum += p[i];
    last_possible = i;
    if (sum > target) return i;
  }
  return last_possible;
}

SamplePlan plan_sampling(const Model& model, int64_t n, int64_t length, uint64_t memory_budget,
                         const ForwardOptions& asked) {
  const uint64_t budget = budget_of(memory_budget), for_weights = weight_budget(memory_budget);
  SamplePlan plan = {asked, false, 1, 0};
  ForwardOptions halved = asked;
  halved.bf16_linears = true;
  if (asked.device.is_cpu() && cpu_has_bf16() && Decoder::weight_bytes(model, asked) > for_weights &&
      Decoder::weight_bytes(model, halved) <= for_weights)
    plan.forward = halved;  // rather than reading the source anew for every token
  const uint64_t weights = Decoder::weight_bytes(model, plan.forward);
  plan.keep_weights = weights <= for_weights;
  const uint64_t room = plan.keep_weights ? budget - weights : budget / 2;
  const uint64_t cache = std::max<uint64_t>(1, Decoder::cache_bytes(model, length, plan.forward));
  const uint64_t fitting = std::clamp<uint64_t>(room / cache, 1, kMaxBatch);
  plan.batch = std::min(n, static_cast<int64_t>(fitting));
  plan.bytes = (plan.keep_weights ? weights : 0) + static_cast<uint64_t>(plan.batch) * cache;
  return plan;
}

at::Tensor sample_sequences(const Model& model, const std::vector<SequenceScript>& scripts,
                            const SampleOptions& options, const ForwardOptions& asked,
                            const std::function<bool(double)>& progress) {
  const int64_t n = static_cast<int64_t>(scripts.size()), length = options.length;
  if (n == 0 || length < 1) throw Error("sampling needs at least one sequence of at least one token");
  for (const SequenceScript& script : scripts)
    if (script.start.empty()) throw Error("a sampled sequence needs at least one given token");
  if (!(options.temperature > 0)) throw Error("sampling needs a temperature above 0");

  const auto [forward, keep_weights, batch, bytes] = plan_sampling(model, n, length, options.memory_budget, asked);

  at::Tensor out = at::empty({n, length}, at::kLong);
  int64_t* tokens = out.data_ptr<int64_t>();
  Decoder decoder(model, batch, length, keep_weights, forward);
  const auto started = std::chrono::steady_clock::now();
  const auto spent = [&] { return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count(); };
  int64_t begin = 0, count = 0;
  for (; begin < n; begin += count) {
    count = std::min(batch, n - begin);
    if (options.seconds > 0 && begin > 0) {
      const double fitting = (options.seconds - spent()) / spent() * static_cast<double>(begin);
      if (fitting < static_cast<double>(std::min(kLeastBatch, count))) break;
      if (fitting < static_cast<double>(count)) count = static_cast<int64_t>(fitting);
    }
    decoder.restart(count);
    std::vector<Sequence> sequences;
    for (int64_t i = 0; i < count; ++i) {
      const SequenceScript& script = scripts[static_cast<size_t>(begin + i)];
      sequences.push_back({&script, {script.start.begin(), script.start.end()}});
      tokens[(begin + i) * length] = sequences.back().take();
    }
    for (int64_t position = 1; position < length; ++position) {
      if (options.seconds > 0 && begin == 0 && position == kTrial) {
        const double whole = spent() / static_cast<double>(kTrial) * static_cast<double>(length);
        if (whole > options.seconds) {
          const double fitting = options.seconds / whole * static_cast<double>(count);
          count = std::max(static_cast<int64_t>(fitting), std::min(kLeastBatch, count));
          decoder.keep(count);
        }
      }
      if (progress &&
          !progress(static_cast<double>(begin * length + (position - 1) * count) / static_cast<double>(n * length)))
        return {};
      const bool choice =
          std::any_of(sequences.begin(), sequences.end(), [](const auto& s) { return s.given.empty(); });
      const at::Tensor logits = decoder.step(out.narrow(0, begin, count).select(1, position - 1).contiguous(), choice);
      at::Tensor p;
      if (choice) {
        p = at::softmax(logits.div(options.temperature), -1);
        if (options.top_k > 0 && options.top_k < p.size(1)) {
          const at::Tensor least = std::get<0>(p.topk(options.top_k, -1)).narrow(-1, options.top_k - 1, 1);
          p.masked_fill_(p < least, 0.0);
        }
        p = p.to(at::kCPU).contiguous();
      }
      at::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          Sequence& sequence = sequences[static_cast<size_t>(i)];
          int64_t& next = tokens[(begin + i) * length + position];
          if (!sequence.given.empty()) {
            next = sequence.take();
            continue;
          }
          const int64_t chosen =
              pick(p.data_ptr<float>() + i * p.size(1), p.size(1),
                   uniform(options.seed, static_cast<uint64_t>(begin + i), static_cast<uint64_t>(position)));
          const bool is_end = std::find(options.ends.begin(), options.ends.end(), chosen) != options.ends.end();
          next = sequence.follow(chosen, is_end);
        }
      });
    }
  }
  if (progress && !progress(1.0)) return {};
  return begin < n ? out.narrow(0, 0, begin).clone() : out;
}

}  // namespace svq::convert
