// Tokenizer keys and sampling defaults of a GGUF file.
#pragma once
#include "converter/models/tokenizer/gguf_tokenizer.h"
#include "converter/sources/gguf.h"
#include "svq_generated.h"

namespace svq::convert {

// False if the file carries no tokenizer (tokenizer.ggml.model absent, "none" or "no_vocab").
bool read_tokenizer_keys(const GgufFile& file, GgufTokenizer& keys);

// general.sampling.*; everything "not given" where absent.
fb::GenerationT read_sampling_keys(const GgufFile& file);

}  // namespace svq::convert
