#include "converter/job/calibration.h"

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <flatbuffers/flatbuffers.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <span>

#include "converter/base/error.h"
#include "converter/models/float/sample.h"
#include "converter/quantize/random.h"
#include "runtime/tokenizer/chat.h"
#include "runtime/tokenizer/tokenizer.h"

namespace svq::convert {

namespace {

// The tokenizer works on serialised tables: keeps them beside it.
class SourceTokenizer {
 public:
  explicit SourceTokenizer(const Model& model) {
    if (model.tokenizer() == nullptr) return;
    builder_.Finish(fb::Tokenizer::Pack(builder_, model.tokenizer()));
    try {
      tokenizer_ = rt::Tokenizer::create(*flatbuffers::GetRoot<fb::Tokenizer>(builder_.GetBufferPointer()),
                                         model.architecture().vocab);
    } catch (const std::exception& error) {
      throw Error(fmt::format("the tokenizer of '{}' cannot be used: {}", model.source_name(), error.what()));
    }
  }
  explicit operator bool() const { return tokenizer_ != nullptr; }
  const rt::Tokenizer& operator*() const { return *tokenizer_; }
  const rt::Tokenizer* operator->() const { return tokenizer_.get(); }

 private:
  flatbuffers::FlatBufferBuilder builder_;
  std::unique_ptr<rt::Tokenizer> tokenizer_;
};

class FlatChat {
 public:
  explicit FlatChat(const Model& model) { builder_.Finish(fb::Chat::Pack(builder_, &model.chat())); }
  const fb::Chat& operator*() const { return *flatbuffers::GetRoot<fb::Chat>(builder_.GetBufferPointer()); }

 private:
  flatbuffers::FlatBufferBuilder builder_;
};

std::vector<int32_t> chat_tokens(const Document& document, const fb::Chat& format, const rt::Tokenizer& tokenizer) {
  try {
    return tokenizer.encode(render_chat(document.chat, format, tokenizer), /*add_special=*/false);
  } catch (const std::runtime_error& error) {
    throw Error(fmt::format("{} {}", document.where, error.what()));
  }
}

std::vector<int64_t> widen(const std::vector<int32_t>& tokens) { return {tokens.begin(), tokens.end()}; }

// A text as the model's tokens, from which sequences are cut.
struct TokenStream {
  std::vector<int32_t> tokens;
  int32_t bos = -1;  // begins every sequence, as at inference; -1: the model wants none
};

TokenStream read_stream(const Model& model, const CalibrationOptions& options) {
  const SourceTokenizer tokenizer(model);
  if (!tokenizer)
    throw Error(fmt::format("'{}' has no tokenizer, so calibration text '{}' cannot be read", model.source_name(),
                            options.text.string()));
  const FlatChat chat(model);
  TokenStream stream;
  for (const Document& document : read_documents(options.text, options.json_fields)) {
    const std::vector<int32_t> tokens =
        document.chat.messages.empty()
            ? tokenizer->encode(document.text, /*add_special=*/false, /*parse_special=*/false)
            : chat_tokens(document, *chat, *tokenizer);
    stream.tokens.insert(stream.tokens.end(), tokens.begin(), tokens.end());
    if (tokenizer->adds_eos() && tokenizer->eos() >= 0) stream.tokens.push_back(tokenizer->eos());
  }
  if (tokenizer->adds_bos()) stream.bos = tokenizer->bos();
  return stream;
}

// `wanted` sequences, or as many as the text holds if these are at least `least`.
CalibrationSet cut(const TokenStream& stream, int64_t wanted, int64_t least, const CalibrationOptions& options) {
  const bool bos = stream.bos >= 0;
  const int64_t body = options.length - (bos ? 1 : 0);
  const int64_t available = static_cast<int64_t>(stream.tokens.size());
  if (body < 1 || available / body < least)
    throw Error(
        fmt::format("calibration text '{}' holds {} tokens, but {} sequences of {} need {}: take a longer text, or "
                    "fewer or shorter sequences",
                    options.text.string(), available, least, options.length, least * body));
  const int64_t sequences = std::min(wanted, available / body);
  CalibrationSet set;
  set.tokens = at::empty({sequences, options.length}, at::kLong);
  // The text is cut into equal stretches; each gives one sequence, from its beginning or from a random
  // place.
  for (int64_t i = 0; i < sequences; ++i) {
    const int64_t begin = i * available / sequences, end = (i + 1) * available / sequences;
    const int64_t places = std::max<int64_t>(1, end - begin - body + 1);
    const double u = options.random_windows ? uniform(options.seed, static_cast<uint64_t>(i), 0) : 0.0;
    const int64_t first = std::min(begin + static_cast<int64_t>(u * static_cast<double>(places)), available - body);
    int64_t* out = set.tokens.data_ptr<int64_t>() + i * options.length;
    if (bos) *out++ = stream.bos;
    std::copy_n(stream.tokens.begin() + first, body, out);
  }
  set.description =
      fmt::format("{} sequences of {} tokens, {} spread, of {} ({} tokens)", sequences, options.length,
                  options.random_windows ? "randomly" : "evenly", options.text.filename().string(), available);
  return set;
}

// A chat that the model writes itself, both sides: what stands before the user's words, between them and the answer,
// and between the answer and the user's next words.
struct ChatScript {
  std::vector<int64_t> open, to_answer, to_user;
};

std::optional<ChatScript> chat_script(const Model& model, const rt::Tokenizer& tokenizer,
                                      const std::vector<nlohmann::ordered_json>& tools = {}) {
  if (model.chat().format == fb::ChatFormat::None) return std::nullopt;
  const FlatChat chat(model);
  const std::vector<std::string> listed = render_tools(tools, model.chat().format);
  // Stand-ins for the words, found again in the formatted chat.
  constexpr std::string_view kWords[] = {"<svq first words>", "<svq answer>", "<svq further words>"};
  const rt::Message messages[] = {{"user", kWords[0]}, {"assistant", kWords[1]}, {"user", kWords[2]}};
  const std::vector<rt::Piece> pieces =
      rt::format_chat(*chat, tokenizer, messages, /*continued=*/false, /*open_answer=*/true, listed);
  std::vector<rt::Piece> between[4];
  size_t part = 0;
  for (const rt::Piece& piece : pieces) {
    std::string_view rest = piece.text;
    while (part < 3) {
      const size_t at = rest.find(kWords[part]);
      if (at == std::string_view::npos) break;
      if (at > 0) between[part].push_back({std::string(rest.substr(0, at)), piece.special});
      rest.remove_prefix(at + kWords[part].size());
      ++part;
    }
    if (!rest.empty()) between[part].push_back({std::string(rest), piece.special});
  }
  if (part != 3) return std::nullopt;  // the format does not carry the words verbatim
  const auto encode = [&](const std::vector<rt::Piece>& run) { return widen(tokenizer.encode(run, false)); };
  ChatScript script{encode(between[0]), encode(between[1]), encode(between[2])};
  if (script.open.empty()) return std::nullopt;
  return script;
}

// Of chats with each of some lists of tools; none where the model's own template says nothing of tools.
std::vector<ChatScript> tool_scripts(const Model& model, const rt::Tokenizer& tokenizer) {
  std::vector<ChatScript> scripts;
  if (model.chat().source_template.find("tools") == std::string::npos) return scripts;
  try {
    for (const auto& tools : sample_tools()) {
      if (auto script = chat_script(model, tokenizer, tools)) scripts.push_back(std::move(*script));
    }
  } catch (const std::runtime_error&) {  // the format has no place for them
    return {};
  }
  return scripts;
}

std::optional<CalibrationSet> from_model(const Model& model, const CalibrationOptions& options,
                                         const ForwardOptions& forward, const std::function<bool(double)>& progress) {
  const SourceTokenizer tokenizer(model);
  std::optional<ChatScript> chat;
  std::vector<ChatScript> with_tools;
  std::vector<int64_t> text_tokens;  // ids that are text
  const int64_t vocab = model.architecture().vocab;
  SampleOptions sampling;
  if (tokenizer) {
    chat = chat_script(model, *tokenizer);
    with_tools = tool_scripts(model, *tokenizer);
    sampling.ends = widen(tokenizer->ends());
    for (int64_t id = 0; id < vocab; ++id)
      if (!tokenizer->token_bytes(static_cast<int32_t>(id)).empty()) text_tokens.push_back(id);
  } else {
    for (int64_t id = 0; id < vocab; ++id) text_tokens.push_back(id);
  }
  if (text_tokens.empty()) throw Error(fmt::format("the tokenizer of '{}' has no text tokens", model.source_name()));

  const bool bos = tokenizer && tokenizer->adds_bos() && tokenizer->bos() >= 0;
  std::vector<SequenceScript> scripts(static_cast<size_t>(options.n_sequences));
  for (size_t i = 0; i < scripts.size(); ++i) {
    if (chat && i % 2 == 1) {
      // A start longer than the sequence would leave nothing to sample.
      const ChatScript* script = i % 4 == 3 && !with_tools.empty() ? &with_tools[i / 4 % with_tools.size()] : &*chat;
      if (static_cast<int64_t>(script->open.size()) > options.length / 2) script = &*chat;
      scripts[i] = {script->open, {script->to_answer, script->to_user}};
      continue;
    }
    // Plain text begins with begin-of-text, or with any token at all (as LLM-QAT's data-free samples, Liu et al. 2023).
    const auto any = static_cast<size_t>(uniform(options.seed, i, 0) * static_cast<double>(text_tokens.size()));
    const int64_t first = bos ? tokenizer->bos() : text_tokens[any];
    scripts[i] = {{first}, {}};
  }
  sampling.length = options.length;
  sampling.temperature = options.temperature;
  sampling.top_k = options.top_k;
  sampling.seed = options.seed;
  sampling.memory_budget = options.memory_budget;
  sampling.seconds = options.sampling_seconds;
  CalibrationSet set;
  set.tokens = sample_sequences(model, scripts, sampling, forward, progress);
  if (!set.tokens.defined()) return std::nullopt;
  set.description = fmt::format("{} sequences of {} tokens sampled from the model itself, {}; temperature {}, seed {}",
                                set.tokens.size(0), options.length,
                                !chat                ? "plain text"
                                : with_tools.empty() ? "half of them chats"
                                                     : "half of them chats, of which half with tools",
                                options.temperature, options.seed);
  return set;
}

// What a sequence serves is told by its place (job/sequences.h): text and the model's own have to be mixed.
at::Tensor random_order(int64_t n_sequences, uint64_t seed) {
  at::Tensor order = at::arange(n_sequences, at::kLong);
  NamedRandom(seed, "order of calibration").shuffle(std::span(order.data_ptr<int64_t>(), size_t(order.numel())));
  return order;
}

}  // namespace

std::optional<CalibrationSet> make_calibration(const Model& model, const CalibrationOptions& options,
                                               const ForwardOptions& forward,
                                               const std::function<bool(double)>& progress) {
  if (options.n_sequences < 1 || options.length < 2)
    throw Error(fmt::format("calibration needs at least one sequence of at least two tokens, not {} of {}",
                            options.n_sequences, options.length));
  if (options.text.empty()) return from_model(model, options, forward, progress);
  if (progress && !progress(0.0)) return std::nullopt;
  const TokenStream stream = read_stream(model, options);
  const bool mixed = options.sampled_share > 0;
  int64_t wanted = options.n_sequences, least = options.least_sequences > 0 ? options.least_sequences : wanted;
  if (mixed) {
    wanted = std::max<int64_t>(1, std::llround((1 - options.sampled_share) * static_cast<double>(wanted)));
    least = 1;
  }
  CalibrationSet set = cut(stream, wanted, least, options);
  CalibrationOptions of_model = options;
  of_model.n_sequences = options.n_sequences - set.tokens.size(0);
  if (mixed && of_model.n_sequences > 0) {
    const auto sampled = from_model(model, of_model, forward, progress);
    if (!sampled) return std::nullopt;
    if (const int64_t written = sampled->tokens.size(0); written < of_model.n_sequences)
      set = cut(stream, std::max<int64_t>(1, written * set.tokens.size(0) / of_model.n_sequences), 1, options);
    set.tokens = at::cat({set.tokens, sampled->tokens});
    set.tokens = set.tokens.index_select(0, random_order(set.tokens.size(0), options.seed));
    set.description += "; " + sampled->description;
  }
  if (progress && !progress(1.0)) return std::nullopt;
  return set;
}

}  // namespace svq::convert
