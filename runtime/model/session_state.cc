#include "runtime/model/session_state.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "runtime/base/error.h"
#include "runtime/model/session.h"

namespace svq::rt {
namespace {

constexpr size_t kChecked = offsetof(StateHeader, bytes);  // the checksum covers what follows

uint64_t padded(uint64_t bytes) { return (bytes + 7) / 8 * 8; }

uint64_t bytes_of(const StateHeader& h, uint64_t cache_bytes) {
  return sizeof h + padded(h.name_bytes) + padded(uint64_t{h.n_tokens} * 4) +
         (h.has_logits != 0 ? padded(uint64_t{h.vocab} * 4) : 0) + cache_bytes;
}

std::string_view name_of(const Model& model) {
  const flatbuffers::String& name = *model.metadata().name();
  return {name.c_str(), std::min<size_t>(name.size(), 4096)};
}

}  // namespace

uint64_t Session::state_bytes() const {
  require_cpu("save");
  const StateHeader h{.name_bytes = static_cast<uint32_t>(name_of(*model_).size()),
                      .n_tokens = position_,
                      .vocab = model_->weights().config.vocab,
                      .has_logits = has_logits_};
  return bytes_of(h, parts_->cpu->cache_bytes(position_));
}

void Session::save_state(uint8_t* out) const {
  const Config& c = model_->weights().config;
  const std::string_view name = name_of(*model_);
  StateHeader h{.magic = kStateMagic,
                .major = kStateMajor,
                .minor = kStateMinor,
                .checksum = 0,
                .bytes = state_bytes(),
                .model = model_->file().fingerprint(),
                .name_bytes = static_cast<uint32_t>(name.size()),
                .n_tokens = position_,
                .n_layers = c.n_layers,
                .n_kv_heads = c.n_kv_heads,
                .head_dim = c.head_dim,
                .kv_bits = options_.kv_bits,
                .vocab = c.vocab,
                .has_logits = has_logits_,
                .random_state = parts_->sampler.state(),
                .reserved = {}};
  uint8_t* at = out + sizeof h;
  const auto put = [&](const void* data, uint64_t bytes) {
    if (bytes != 0) std::memcpy(at, data, bytes);
    std::memset(at + bytes, 0, padded(bytes) - bytes);
    at += padded(bytes);
  };
  put(name.data(), name.size());
  put(parts_->history, uint64_t{position_} * 4);
  if (has_logits_) put(parts_->logits, uint64_t{c.vocab} * 4);
  parts_->cpu->read_cache(position_, at);
  std::memcpy(out, &h, sizeof h);
  h.checksum = XXH3_64bits(out + kChecked, h.bytes - kChecked);
  std::memcpy(out, &h, sizeof h);
}

void Session::restore_state(std::span<const uint8_t> state, const std::string& name) {
  require_cpu("restore");
  const Config& c = model_->weights().config;
  StateHeader h;
  if (state.size() < sizeof h) {
    fail(SVQ_ERROR_FORMAT, name, ": not a saved session: ", state.size(), " bytes, shorter than its header");
  }
  std::memcpy(&h, state.data(), sizeof h);
  if (h.magic != kStateMagic) fail(SVQ_ERROR_FORMAT, name, ": not a saved session: it does not begin with \"SVQK\"");
  if (h.major != kStateMajor) {
    fail(h.major > kStateMajor ? SVQ_ERROR_VERSION : SVQ_ERROR_FORMAT, name, ": saved in version ", h.major, ".",
         h.minor, " of the format, but this library reads version ", kStateMajor);
  }
  if (h.bytes != state.size()) {
    fail(SVQ_ERROR_FORMAT, name, ": ", state.size(), " bytes, but ", h.bytes,
         " were saved: it is truncated or has grown");
  }
  if (XXH3_64bits(state.data() + kChecked, state.size() - kChecked) != h.checksum) {
    fail(SVQ_ERROR_CHECKSUM, name, ": the saved session differs from its checksum");
  }
  const uint64_t room = state.size() - sizeof h;
  if (h.name_bytes > room) fail(SVQ_ERROR_FORMAT, name, ": the model's name is longer than the saved session");
  const std::string_view saved_by(reinterpret_cast<const char*>(state.data() + sizeof h), h.name_bytes);
  if (h.model != model_->file().fingerprint()) {
    fail(SVQ_ERROR_MISMATCH, name, ": saved by the model \"", saved_by, "\", but this session's model is \"",
         name_of(*model_), "\"",
         saved_by == name_of(*model_) ? std::string_view(", another conversion") : std::string_view());
  }
  if (h.kv_bits != options_.kv_bits) {
    fail(SVQ_ERROR_MISMATCH, name, ": saved with a KV cache of ", h.kv_bits, " bits, but this session's has ",
         options_.kv_bits);
  }
  if (h.n_layers != c.n_layers || h.n_kv_heads != c.n_kv_heads || h.head_dim != c.head_dim || h.vocab != c.vocab ||
      h.has_logits > 1) {
    fail(SVQ_ERROR_FORMAT, name, ": the saved session's dimensions are not those of its model");
  }
  if (h.n_tokens > options_.context) {
    fail(SVQ_ERROR_CONTEXT_FULL, name, ": the ", h.n_tokens, " tokens saved do not fit in the context of ",
         options_.context);
  }
  if (h.bytes != bytes_of(h, parts_->cpu->cache_bytes(h.n_tokens))) {
    fail(SVQ_ERROR_FORMAT, name, ": the saved session's size does not fit its ", h.n_tokens, " tokens");
  }
  const uint8_t* at = state.data() + sizeof h + padded(h.name_bytes);
  const auto* tokens = reinterpret_cast<const uint8_t*>(at);
  for (uint32_t i = 0; i < h.n_tokens; ++i) {
    int32_t token;
    std::memcpy(&token, tokens + size_t{i} * 4, 4);
    if (token < 0 || static_cast<uint32_t>(token) >= c.vocab) {
      fail(SVQ_ERROR_FORMAT, name, ": token ", i, " is ", token, ", outside the vocabulary of ", c.vocab);
    }
  }

  if (h.n_tokens != 0) std::memcpy(parts_->history, tokens, size_t{h.n_tokens} * 4);
  at += padded(uint64_t{h.n_tokens} * 4);
  if (h.has_logits != 0) {
    std::memcpy(parts_->logits, at, uint64_t{c.vocab} * 4);
    at += padded(uint64_t{c.vocab} * 4);
  }
  parts_->cpu->write_cache(h.n_tokens, at);
  parts_->sampler.seed(h.random_state);
  position_ = h.n_tokens;
  has_logits_ = logits_here_ = h.has_logits != 0;
  shared_to_ = 0;
}

}  // namespace svq::rt
