#include "converter/job/completions.h"

#include <ATen/core/Tensor.h>

#include <algorithm>
#include <string_view>

#include "converter/job/reporter.h"
#include "converter/models/float/decoder.h"
#include "converter/models/float/sample.h"
#include "converter/models/float/startup.h"
#include "svqrt/svqrt.hpp"

namespace svq::convert {

namespace {

constexpr size_t kTokens = 64;  // of a completion

constexpr const char* kQuestions[] = {
    "Explain in two sentences why a robot needs more than one sensor.",
    "A box weighs 3 kg and holds 4 parts of 0.5 kg each. How much does it weigh in all? Show the steps.",
    "List three things to check before switching on an electric motor."};
constexpr const char* kBeginnings[] = {"The most important thing about a robot is", "To make a cup of tea, first",
                                       "The capital of France is"};

std::vector<svq_token> tokens_of(const svq::Model& model, const char* text, bool chat) {
  try {
    return chat ? model.chat_tokenize({{"user", text}}) : model.tokenize(text);
  } catch (const svq::Error&) {
    return {};
  }
}

uint64_t weight_bytes(const Model& source, ForwardOptions forward) {
  forward.bf16_linears = forward.bf16_linears || cpu_has_bf16();
  return Decoder::weight_bytes(source, forward);
}

void fill(Completions& result, const Model& source, const std::filesystem::path& file, const ForwardOptions& forward,
          int threads, const std::function<void(double)>& progress) {
  const svq::Model model(file.string());
  const bool chat = source.chat().format != fb::ChatFormat::None;
  std::vector<std::vector<svq_token>> prompts;
  for (const char* text : chat ? kQuestions : kBeginnings) {
    std::vector<svq_token> tokens = tokens_of(model, text, chat);
    if (tokens.empty() || tokens.size() + kTokens > source.architecture().context_length) continue;
    prompts.push_back(std::move(tokens));
    result.rows.push_back({text, {}, {}});
  }
  if (prompts.empty()) {
    result.missing = source.tokenizer() ? "the model's context is too short" : "the source has no tokenizer";
    return;
  }

  svq::Session session(model, {.context = 1024, .threads = threads});
  session.set_sampler(SVQ_SAMPLER_TEMPERATURE, 0);
  session.set_sampler(SVQ_SAMPLER_REPETITION_PENALTY, 1);
  for (size_t i = 0; i < prompts.size(); ++i) {
    session.truncate(0);
    session.generate(prompts[i], kTokens, [&](std::string_view text, svq_token) {
      result.rows[i].quantized += text;
      return true;
    });
    progress(0.3 * static_cast<double>(i + 1) / static_cast<double>(prompts.size()));
  }

  if (completions_memory(source, forward) == 0) {
    result.missing = "the source's are left out: its weights would take " +
                     format_bytes(weight_bytes(source, forward)) + " of memory";
    return;
  }
  std::vector<SequenceScript> scripts;
  size_t longest = 0;
  for (const auto& prompt : prompts) {
    scripts.push_back({{prompt.begin(), prompt.end()}, {}});
    longest = std::max(longest, prompt.size());
  }
  SampleOptions options;
  options.length = static_cast<int64_t>(longest + kTokens);
  options.top_k = 1;
  const at::Tensor tokens = sample_sequences(source, scripts, options, forward, [&](double fraction) {
    progress(0.3 + 0.7 * fraction);
    return true;
  });
  for (size_t i = 0; i < prompts.size(); ++i) {
    std::vector<svq_token> answer;
    const int64_t* row = tokens.data_ptr<int64_t>() + static_cast<int64_t>(i) * tokens.size(1);
    for (size_t k = prompts[i].size(); k < prompts[i].size() + kTokens; ++k) {
      const auto token = static_cast<svq_token>(row[k]);
      if (model.is_end(token)) break;
      answer.push_back(token);
    }
    result.rows[i].source = model.detokenize(answer);
  }
}

}  // namespace

uint64_t completions_memory(const Model& source, const ForwardOptions& forward) {
  const uint64_t needed = weight_bytes(source, forward);
  return needed > weight_budget() ? 0 : needed;
}

Completions complete(const Model& source, const std::filesystem::path& file, const ForwardOptions& forward, int threads,
                     const std::function<void(double)>& progress) {
  Completions result;
  try {
    fill(result, source, file, forward, threads, progress);
  } catch (const svq::Error& error) {
    result.missing = error.what();
  }
  return result;
}

}  // namespace svq::convert
