// Recognises the normalizer and pre-tokenizer of a tokenizer.json, which are given as little programs in JSON.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "svq_generated.h"

namespace svq::convert {

// Byte-level BPE: fills pre_tokenizer, normalizer and add_prefix_space. root: the file's root object; where: its name.
// Throws Error naming what is not supported.
void recognise_byte_level(const nlohmann::json& root, const std::string& where, fb::TokenizerT& tokenizer);

// True if the file describes a SentencePiece model in other words: BPE over characters with U+2581 for spaces.
bool is_sentencepiece_like(const nlohmann::json& root);

// Of such a file: whether a space is put before the text. Throws Error naming what is not supported.
bool recognise_dummy_prefix(const nlohmann::json& root, const std::string& where);

// Whether the post-processor puts the token `bos` in front of a text, or `eos` behind it. given: it says so at all.
struct PostProcessing {
  bool given = false, adds_bos = false, adds_eos = false;
};
PostProcessing recognise_post_processor(const nlohmann::json& root, const std::string& bos, const std::string& eos);

}  // namespace svq::convert
