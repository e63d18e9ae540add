#include "converter/models/tokenizer/hf_pipeline.h"

#include <vector>

#include "converter/base/error.h"
#include "converter/models/tokenizer/json_file.h"

namespace svq::convert {

using nlohmann::json;

namespace {

constexpr const char* kSpace = "\xE2\x96\x81";  // U+2581, SentencePiece's visible space

// The expressions of the families, as their files write them.
struct Expression {
  const char* text;
  fb::PreTokenizer kind;
};
constexpr Expression kExpressions[] = {
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", fb::PreTokenizer::Gpt2},
    {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", fb::PreTokenizer::Gpt2},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     fb::PreTokenizer::Llama3},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     fb::PreTokenizer::Qwen2},
};

// The steps of a normalizer or pre-tokenizer, sequences flattened.
std::vector<const json*> steps(const json* step, const char* members, const std::string& where) {
  if (!step) return {};
  if (string_member(*step, "type", where) != "Sequence") return {step};
  std::vector<const json*> all;
  const json* list = find_member(*step, members);
  if (!list || !list->is_array()) throw Error(where + "." + members + ": a list was expected");
  for (const json& s : *list)
    for (const json* inner : steps(&s, members, where)) all.push_back(inner);
  return all;
}
std::vector<const json*> pre_tokenizer_steps(const json& root, const std::string& where) {
  return steps(find_member(root, "pre_tokenizer"), "pretokenizers", where + ": pre_tokenizer");
}
std::vector<const json*> normalizer_steps(const json& root, const std::string& where) {
  return steps(find_member(root, "normalizer"), "normalizers", where + ": normalizer");
}

std::string type_of(const json& step) {
  const json* type = find_member(step, "type");
  return type && type->is_string() ? type->get<std::string>() : "";
}

// "Split (regex) + ByteLevel", for messages.
std::string describe(const std::vector<const json*>& list) {
  std::string out;
  for (const json* s : list) {
    if (!out.empty()) out += " + ";
    out += type_of(*s).empty() ? "?" : type_of(*s).substr(0, 40);
    const json* pattern = find_member(*s, "pattern");
    const json* regex = pattern ? find_member(*pattern, "Regex") : nullptr;
    if (regex && regex->is_string()) out += " (" + regex->get<std::string>().substr(0, 160) + ")";
  }
  return out.empty() ? "none" : out;
}

// The pattern of a Split or Replace step: {"String": s} or {"Regex": s}.
std::string pattern_of(const json& step, const char* kind) {
  const json* pattern = find_member(step, "pattern");
  const json* text = pattern ? find_member(*pattern, kind) : nullptr;
  return text && text->is_string() ? text->get<std::string>() : "";
}

[[noreturn]] void refuse_pre_tokenizer(const std::vector<const json*>& list, const std::string& where) {
  throw Error(where + ": the pre-tokenizer " + describe(list) +
              " is not supported; supported are those of GPT-2, Llama 3, Qwen2 and SmolLM");
}

}  // namespace

void recognise_byte_level(const json& root, const std::string& where, fb::TokenizerT& t) {
  t.normalizer = fb::Normalizer::None;
  for (const json* n : normalizer_steps(root, where)) {
    if (type_of(*n) != "NFC")
      throw Error(where + ": the normalizer " + describe({n}) + " is not supported; supported are none and NFC");
    t.normalizer = fb::Normalizer::Nfc;
  }
  const auto list = pre_tokenizer_steps(root, where);
  const std::string at = where + ": pre_tokenizer";
  if (list.empty() || list.size() > 2 || type_of(*list.back()) != "ByteLevel") refuse_pre_tokenizer(list, where);
  const json& byte_level = *list.back();
  const bool use_regex = bool_member(byte_level, "use_regex", true, at);
  t.add_prefix_space = bool_member(byte_level, "add_prefix_space", true, at);
  if (list.size() == 1) {
    if (!use_regex) refuse_pre_tokenizer(list, where);
    t.pre_tokenizer = fb::PreTokenizer::Gpt2;
    return;
  }
  // A space before every piece of a first step is something no family does.
  if (t.add_prefix_space) throw Error(at + ": ByteLevel.add_prefix_space after another step is not supported");
  const json& first = *list.front();
  if (type_of(first) == "Digits" && bool_member(first, "individual_digits", false, at) && use_regex) {
    t.pre_tokenizer = fb::PreTokenizer::Smollm;
    return;
  }
  if (type_of(first) == "Split" && !use_regex && string_member(first, "behavior", at) == "Isolated" &&
      !bool_member(first, "invert", false, at)) {
    const std::string regex = pattern_of(first, "Regex");
    for (const Expression& e : kExpressions) {
      if (regex != e.text) continue;
      t.pre_tokenizer = e.kind;
      return;
    }
  }
  refuse_pre_tokenizer(list, where);
}

bool is_sentencepiece_like(const json& root) {
  const json* model = find_member(root, "model");
  const json* fallback = model ? find_member(*model, "byte_fallback") : nullptr;
  return fallback && fallback->is_boolean() && fallback->get<bool>();
}

bool recognise_dummy_prefix(const json& root, const std::string& where) {
  bool prefix = false, spaces = false;
  const auto normalizers = normalizer_steps(root, where);
  for (const json* n : normalizers) {
    if (type_of(*n) == "Prepend" && string_member(*n, "prepend", where + ": normalizer") == kSpace && !spaces) {
      prefix = true;
    } else if (type_of(*n) == "Replace" && pattern_of(*n, "String") == " " &&
               string_member(*n, "content", where + ": normalizer") == kSpace) {
      spaces = true;
    } else {
      throw Error(where + ": the normalizer " + describe(normalizers) +
                  " is not supported with byte_fallback; supported are Prepend and Replace of spaces by U+2581");
    }
  }
  const auto list = pre_tokenizer_steps(root, where);
  for (const json* p : list) {
    const std::string at = where + ": pre_tokenizer";
    if (type_of(*p) == "Metaspace" && string_member(*p, "replacement", at) == kSpace &&
        !bool_member(*p, "split", true, at)) {
      const std::string scheme = string_member(*p, "prepend_scheme", at);
      prefix |= scheme.empty() ? bool_member(*p, "add_prefix_space", true, at) : scheme != "never";
      spaces = true;
    } else if (type_of(*p) != "Split" || pattern_of(*p, "String") != " " || !spaces) {
      // (Gemma splits at spaces, of which its normalizer has left none.)
      throw Error(where + ": the pre-tokenizer " + describe(list) +
                  " is not supported with byte_fallback; supported are none and Metaspace without splitting");
    }
  }
  if (!spaces) throw Error(where + ": byte_fallback without U+2581 for spaces is not supported");
  return prefix;
}

PostProcessing recognise_post_processor(const json& root, const std::string& bos, const std::string& eos) {
  PostProcessing out;
  std::vector<const json*> list;
  if (const json* p = find_member(root, "post_processor")) {
    const json* processors = find_member(*p, "processors");
    if (processors && processors->is_array()) {
      for (const json& s : *processors) list.push_back(&s);
    } else {
      list.push_back(p);
    }
  }
  for (const json* p : list) {
    if (type_of(*p) != "TemplateProcessing") continue;
    const json* single = find_member(*p, "single");
    if (!single || !single->is_array()) continue;
    out.given = true;
    bool behind = false;
    for (const json& part : *single) {
      if (find_member(part, "Sequence")) behind = true;
      const json* special = find_member(part, "SpecialToken");
      const json* id = special ? find_member(*special, "id") : nullptr;
      if (!id || !id->is_string()) continue;
      const auto text = id->get<std::string>();
      if (!behind && !bos.empty() && text == bos) out.adds_bos = true;
      if (behind && !eos.empty() && text == eos) out.adds_eos = true;
    }
  }
  return out;
}

}  // namespace svq::convert
