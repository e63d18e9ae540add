// A tokenizer and chat format from the metadata of a GGUF file.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "svq_generated.h"

namespace svq::convert {

// The tokenizer.* keys as they stand in the file; ids are -1 where the key is absent.
struct GgufTokenizer {
  std::string model;                // tokenizer.ggml.model: "gpt2" (byte-level BPE) or "llama" (SentencePiece)
  std::string pre;                  // tokenizer.ggml.pre; empty: absent
  std::vector<std::string> tokens;  // tokenizer.ggml.tokens
  std::vector<int32_t>
      types;  // tokenizer.ggml.token_type: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
  std::vector<float> scores;        // tokenizer.ggml.scores, "llama" only
  std::vector<std::string> merges;  // tokenizer.ggml.merges, "gpt2" only: "left right"
  int64_t bos = -1, eos = -1, eot = -1, eom = -1, pad = -1,
          unk = -1;  // tokenizer.ggml.{bos,eos,eot,eom,padding,unknown}_token_id
  std::optional<bool> add_bos, add_eos,
      add_space_prefix;       // tokenizer.ggml.{add_bos_token,add_eos_token,add_space_prefix}
  std::string chat_template;  // tokenizer.chat_template; empty: absent
};

// Fills tokenizer and chat; both are as they go into the .svq file, and the tokenizer has been loaded once as a check.
// Returns warnings for the user, one sentence each, without the file's name. Throws Error naming the key at fault.
std::vector<std::string> read_gguf_tokenizer(const GgufTokenizer& source, fb::TokenizerT& tokenizer, fb::ChatT& chat);

}  // namespace svq::convert
