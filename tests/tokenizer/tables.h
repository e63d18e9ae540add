// Small hand-made tokenizer tables for the tests.
#pragma once
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "runtime/tokenizer/sentencepiece_proto.h"
#include "runtime/tokenizer/tokenizer.h"
#include "svq_generated.h"

namespace svq::test {

// A tokenizer together with the serialised tables that it reads.
struct Loaded {
  flatbuffers::FlatBufferBuilder builder;
  std::unique_ptr<rt::Tokenizer> tokenizer;
  const rt::Tokenizer* operator->() const { return tokenizer.get(); }
};

inline Loaded load(const fb::TokenizerT& tables, uint32_t vocab) {
  Loaded l;
  l.builder.Finish(fb::CreateTokenizer(l.builder, &tables));
  l.tokenizer = rt::Tokenizer::create(*flatbuffers::GetRoot<fb::Tokenizer>(l.builder.GetBufferPointer()), vocab);
  return l;
}

inline uint32_t add_token(fb::TokenizerT& t, std::string_view bytes) {
  if (t.token_offsets.empty()) t.token_offsets.push_back(0);
  t.token_bytes.insert(t.token_bytes.end(), bytes.begin(), bytes.end());
  t.token_offsets.push_back(static_cast<uint32_t>(t.token_bytes.size()));
  return static_cast<uint32_t>(t.token_offsets.size() - 2);
}

inline std::string token(const fb::TokenizerT& t, uint32_t id) {
  return {t.token_bytes.begin() + t.token_offsets[id], t.token_bytes.begin() + t.token_offsets[id + 1]};
}

inline uint32_t add_merge(fb::TokenizerT& t, uint32_t left, uint32_t right) {
  const uint32_t id = add_token(t, token(t, left) + token(t, right));
  t.merges.emplace_back(left, right);
  t.merge_results.push_back(id);
  return id;
}

inline void add_special(fb::TokenizerT& t, uint32_t id, std::string content, bool control = true, bool lstrip = false,
                        bool rstrip = false) {
  auto s = std::make_unique<fb::SpecialTokenT>();
  s->id = id;
  s->content = std::move(content);
  s->control = control;
  s->lstrip = lstrip;
  s->rstrip = rstrip;
  t.special.push_back(std::move(s));
}

inline uint32_t add_special(fb::TokenizerT& t, std::string content, bool control = true, bool lstrip = false,
                            bool rstrip = false) {
  const uint32_t id = add_token(t, content);
  add_special(t, id, std::move(content), control, lstrip, rstrip);
  return id;
}

// Ids 0 to 255 are the bytes.
inline fb::TokenizerT byte_tables(fb::PreTokenizer pre = fb::PreTokenizer::Gpt2) {
  fb::TokenizerT t;
  t.pre_tokenizer = pre;
  for (int b = 0; b < 256; ++b) add_token(t, std::string(1, static_cast<char>(b)));
  return t;
}

inline uint32_t tokens_of(const fb::TokenizerT& t) { return static_cast<uint32_t>(t.token_offsets.size() - 1); }

// <unk>, <s>, </s>, 256 bytes (3 to 258), then the given pieces with scores 0, -1, …
inline rt::SentencePieceProto piece_model(const std::vector<std::string>& pieces, bool dummy_prefix) {
  using Proto = rt::SentencePieceProto;
  Proto p;
  p.model_type = Proto::kBpe;
  p.byte_fallback = true;
  p.add_dummy_prefix = dummy_prefix;
  p.remove_extra_whitespaces = false;
  p.pieces = {{"<unk>", 0, Proto::kUnknown}, {"<s>", 0, Proto::kControl}, {"</s>", 0, Proto::kControl}};
  const char* hex = "0123456789ABCDEF";
  for (int b = 0; b < 256; ++b)
    p.pieces.push_back({std::string("<0x") + hex[b / 16] + hex[b % 16] + ">", 0, Proto::kByte});
  float score = 0;
  for (const std::string& piece : pieces) p.pieces.push_back({piece, score--, Proto::kNormal});
  return p;
}

inline fb::TokenizerT piece_tables(const rt::SentencePieceProto& p) {
  fb::TokenizerT t;
  t.kind = fb::TokenizerKind::SentencePiece;
  const std::string bytes = p.serialize();
  t.sentencepiece.assign(bytes.begin(), bytes.end());
  t.bos = 1;
  t.eos = {2};
  add_special(t, 1, "<s>");
  add_special(t, 2, "</s>");
  return t;
}

}  // namespace svq::test
