// A tokenizer, chat format and generation defaults from a Hugging Face directory.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "svq_generated.h"

namespace svq::convert {

// Reads tokenizer.model or tokenizer.json (byte-level BPE, or a SentencePiece BPE that can be rebuilt), and what stands
// in tokenizer_config.json, special_tokens_map.json, added_tokens.json, generation_config.json, config.json (end
// tokens) and chat_template.jinja. The tokenizer has been loaded once as a check. Returns warnings for the user, one
// sentence each. Throws Error naming file, field and what was expected; also if the directory has no tokenizer at all.
std::vector<std::string> read_hf_tokenizer(const std::filesystem::path& dir, fb::TokenizerT& tokenizer,
                                           fb::ChatT& chat);

// True if the directory holds tokenizer.json or tokenizer.model.
bool has_hf_tokenizer(const std::filesystem::path& dir);

// generation_config.json; everything "not given" if there is none.
fb::GenerationT read_generation_config(const std::filesystem::path& dir);

}  // namespace svq::convert
