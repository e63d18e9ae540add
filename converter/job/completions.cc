#include "converter/job/completions.h"

#include <ATen/core/Tensor.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

#include "converter/job/reporter.h"
#include "converter/models/float/decoder.h"
#include "converter/models/float/sample.h"
#include "converter/models/float/startup.h"
#include "svqrt/svqrt.h"

namespace svq::convert {

namespace {

constexpr size_t kTokens = 64;  // of a completion

constexpr const char* kQuestions[] = {
    "Explain in two sentences why a robot needs more than one sensor.",
    "A box weighs 3 kg and holds 4 parts of 0.5 kg each. How much does it weigh in all? Show the steps.",
    "List three things to check before switching on an electric motor."};
constexpr const char* kBeginnings[] = {"The most important thing about a robot is", "To make a cup of tea, first",
                                       "The capital of France is"};

struct Free {
  void operator()(svq_model* m) const { svq_model_free(m); }
  void operator()(svq_session* s) const { svq_session_free(s); }
  void operator()(svq_session_params* p) const { svq_session_params_free(p); }
};

std::vector<svq_token> tokens_of(const svq_model* model, const char* text, bool chat) {
  std::vector<svq_token> tokens(512);
  size_t n = tokens.size();
  const svq_message message{"user", text};
  const svq_status status = chat ? svq_chat_tokenize(model, &message, 1, 0, 1, tokens.data(), &n)
                                 : svq_tokenize(model, text, std::char_traits<char>::length(text),
                                                SVQ_TOKENIZE_ADD_SPECIAL, tokens.data(), &n);
  tokens.resize(status == SVQ_OK ? n : 0);
  return tokens;
}

std::string text_of(const svq_model* model, const std::vector<svq_token>& tokens) {
  std::string text(64 * tokens.size() + 64, '\0');
  size_t n = text.size();
  text.resize(svq_detokenize(model, tokens.data(), tokens.size(), 0, text.data(), &n) == SVQ_OK ? n : 0);
  return text;
}

}  // namespace

Completions complete(const Model& source, const std::filesystem::path& file, const ForwardOptions& forward, int threads,
                     const std::function<void(double)>& progress) {
  Completions result;
  svq_model* loaded = nullptr;
  if (svq_model_load(file.c_str(), nullptr, &loaded) != SVQ_OK) {
    result.missing = svq_last_error();
    return result;
  }
  const std::unique_ptr<svq_model, Free> model(loaded);
  const bool chat = source.chat().format != fb::ChatFormat::None;
  std::vector<std::vector<svq_token>> prompts;
  for (const char* text : chat ? kQuestions : kBeginnings) {
    std::vector<svq_token> tokens = tokens_of(model.get(), text, chat);
    if (tokens.empty() || tokens.size() + kTokens > source.architecture().context_length) continue;
    prompts.push_back(std::move(tokens));
    result.rows.push_back({text, {}, {}});
  }
  if (prompts.empty()) {
    result.missing = source.tokenizer() ? "the model's context is too short" : "the source has no tokenizer";
    return result;
  }

  const std::unique_ptr<svq_session_params, Free> params(svq_session_params_create());
  svq_session_params_set(params.get(), SVQ_SESSION_CONTEXT, 1024);
  svq_session_params_set(params.get(), SVQ_SESSION_THREADS, threads);
  svq_session* opened = nullptr;
  if (svq_session_create(model.get(), params.get(), &opened) != SVQ_OK) {
    result.missing = svq_last_error();
    return result;
  }
  const std::unique_ptr<svq_session, Free> session(opened);
  svq_session_set_sampler(session.get(), SVQ_SAMPLER_TEMPERATURE, 0);
  svq_session_set_sampler(session.get(), SVQ_SAMPLER_REPETITION_PENALTY, 1);
  for (size_t i = 0; i < prompts.size(); ++i) {
    svq_session_truncate(session.get(), 0);
    svq_session_generate(
        session.get(), prompts[i].data(), prompts[i].size(), kTokens,
        [](const char* text, size_t bytes, svq_token, void* to) {
          static_cast<std::string*>(to)->append(text, bytes);
          return 0;
        },
        &result.rows[i].quantized, nullptr);
    progress(0.3 * static_cast<double>(i + 1) / static_cast<double>(prompts.size()));
  }

  const uint64_t memory =
      static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGE_SIZE));
  ForwardOptions halved = forward;
  halved.bf16_linears = forward.bf16_linears || cpu_has_bf16();
  const uint64_t needed = Decoder::weight_bytes(source, halved);
  if (needed > memory / 8 * 3) {
    result.missing = "the source's are left out: its weights would take " + format_bytes(needed) + " of memory";
    return result;
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
      if (svq_token_is_end(model.get(), token)) break;
      answer.push_back(token);
    }
    result.rows[i].source = text_of(model.get(), answer);
  }
  return result;
}

}  // namespace svq::convert
