// Tool calls: the grammar of each chat format, prompts, and the way back from an answer.
#include <nlohmann/json.hpp>

#include "runtime/grammar/tools.h"
#include "runtime/tokenizer/chat.h"
#include "tests/grammar/random_schema.h"
#include "tests/grammar/support.h"

namespace svq::test {
namespace {

using fb::ChatFormat;
using nlohmann::json;

constexpr char kTools[] = R"([
  {"name": "pick", "description": "Picks up a thing", "parameters": {"type": "object", "properties": {"object": {"enum": ["cube", "ball"]},
   "force": {"type": "number", "minimum": 0, "maximum": 5}}, "required": ["object"]}},
  {"type": "function", "function": {"name": "stop", "parameters": {"type": "object", "properties": {}, "additionalProperties": false}}},
  {"name": "say \"it\"", "parameters": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 20}}, "required": ["text"]}}
])";

Vocabulary vocabulary() {
  return Vocabulary({"\"arguments\": {", "<tool_call>"}, 200, 3,
                    {{"<end>", true},
                     {"[TOOL_CALLS]", true},
                     {"[INST]", true},
                     {"[AVAILABLE_TOOLS]", true},
                     {"[TOOL_RESULTS]", true}});
}

TEST(Tools, EveryCallParsesAndFitsItsTool) {
  const Vocabulary v = vocabulary();
  const json tools = json::parse(kTools);
  std::mt19937 rng(1);
  for (const ChatFormat format : {ChatFormat::ChatML, ChatFormat::Llama3, ChatFormat::Mistral}) {
    for (const bool or_text : {false, true}) {
      const auto grammar = v.grammar(rt::tools_grammar(format, v.tokenizer(), kTools, or_text));
      rt::Matcher m(grammar);
      int with_calls = 0;
      for (int i = 0; i < 300; ++i) {
        m.reset();
        const std::string text =
            random_text(m, v, rng, grammar->least_bytes() + 2 + static_cast<uint32_t>(rng() % 200));
        const json calls = json::parse(rt::read_tool_calls(format, text));
        if (!or_text) {
          ASSERT_FALSE(calls.empty()) << text;
        }
        with_calls += !calls.empty();
        for (const json& call : calls) {
          bool known = false;
          for (const json& t : tools) {
            const json& f = t.contains("function") ? t["function"] : t;
            if (f["name"] != call["name"]) continue;
            known = true;
            ASSERT_EQ(validate(call["arguments"], f["parameters"], f["parameters"]), "") << text;
          }
          ASSERT_TRUE(known) << text;
        }
      }
      if (!or_text) {
        EXPECT_EQ(with_calls, 300);
      }
    }
  }
}

std::string prompt(ChatFormat format, const Vocabulary& v, const std::vector<rt::Message>& messages,
                   const char* tools) {
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::CreateChat(builder, format));
  const auto list = tools == nullptr ? std::vector<std::string>() : rt::list_tools(tools, format);
  std::string out;
  for (const rt::Piece& piece : rt::format_chat(*flatbuffers::GetRoot<fb::Chat>(builder.GetBufferPointer()),
                                                v.tokenizer(), messages, false, true, list)) {
    out += piece.text;
  }
  return out;
}

// The texts are those of the models' own chat templates.
TEST(Tools, PromptsAreThoseTheModelsKnow) {
  const Vocabulary v = vocabulary();
  constexpr char kOne[] = R"([{"name":"stop","parameters":{"type":"object","properties":{}}}])";
  const std::vector<rt::Message> messages{
      {"system", "Be brief."}, {"user", "Halt!"}, {"assistant", "CALL"}, {"tool", "{\"ok\": true}"}, {"tool", "2"}};
  EXPECT_EQ(
      prompt(ChatFormat::ChatML, v, messages, kOne),
      "<|im_start|>system\nBe brief.\n\n# Tools\n\nYou may call one or more functions to assist with the user "
      "query.\n\nYou are "
      "provided with function signatures within <tools></tools> XML tags:\n<tools>\n{\"type\": \"function\", "
      "\"function\": "
      "{\"name\": \"stop\", \"parameters\": {\"type\": \"object\", \"properties\": {}}}}\n</tools>\n\nFor each "
      "function call, "
      "return a json object with function name and arguments within <tool_call></tool_call> XML "
      "tags:\n<tool_call>\n{\"name\": "
      "<function-name>, \"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n<|im_start|>user\nHalt!<|im_end|>\n"
      "<|im_start|>assistant\nCALL<|im_end|>\n<|im_start|>user\n<tool_response>\n{\"ok\": "
      "true}\n</tool_response>\n<tool_response>\n"
      "2\n</tool_response><|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(
      prompt(ChatFormat::Llama3, v, messages, kOne),
      "<|start_header_id|>system<|end_header_id|>\n\nEnvironment: ipython\n\nBe brief.<|eot_id|><|start_header_id|>user"
      "<|end_header_id|>\n\nGiven the following functions, please respond with a JSON for a function call with its "
      "proper arguments "
      "that best answers the given prompt.\n\nRespond in the format {\"name\": function name, \"parameters\": "
      "dictionary of argument "
      "name and its value}. Do not use variables.\n\n{\n    \"type\": \"function\",\n    \"function\": {\n        "
      "\"name\": "
      "\"stop\",\n        \"parameters\": {\n            \"type\": \"object\",\n            \"properties\": {}\n       "
      " }\n    }\n}"
      "\n\nHalt!<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\nCALL<|eot_id|><|start_header_id|>ipython<|"
      "end_header_id|>\n\n"
      "{\"ok\": "
      "true}<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n2<|eot_id|><|start_header_id|>assistant<|end_"
      "header_id|>"
      "\n\n");
  EXPECT_EQ(prompt(ChatFormat::Mistral, v, messages, kOne),
            "[AVAILABLE_TOOLS][{\"type\": \"function\", \"function\": {\"name\": \"stop\", \"parameters\": {\"type\": "
            "\"object\", "
            "\"properties\": {}}}}][/AVAILABLE_TOOLS][INST]Be "
            "brief.\n\nHalt![/INST]CALL<end>[TOOL_RESULTS]{\"content\": {\"ok\": true}}"
            "[/TOOL_RESULTS][TOOL_RESULTS]{\"content\": 2}[/TOOL_RESULTS]");
  EXPECT_EQ(prompt(ChatFormat::ChatML, v, {{"user", "x"}}, nullptr),
            "<|im_start|>user\nx<|im_end|>\n<|im_start|>assistant\n");
  for (const ChatFormat format : {ChatFormat::Llama2, ChatFormat::Gemma}) {
    EXPECT_THROW((void)prompt(format, v, {{"user", "x"}}, kOne), std::runtime_error);
    EXPECT_THROW((void)prompt(format, v, {{"user", "x"}, {"tool", "1"}}, nullptr), std::runtime_error);
  }
}

TEST(Tools, CallsAreReadBack) {
  const auto read = [](ChatFormat format, const char* text) { return rt::read_tool_calls(format, text); };
  const std::string one = R"([{"name":"f","arguments":{"a":1}}])";
  EXPECT_EQ(read(ChatFormat::ChatML, "Sure.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>"),
            one);
  EXPECT_EQ(read(ChatFormat::Llama3, " {\"name\": \"f\", \"parameters\": {\"a\": 1}}"), one);
  EXPECT_EQ(read(ChatFormat::Mistral, "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}]"), one);
  EXPECT_EQ(read(ChatFormat::Mistral, "[{\"name\": \"f\", \"arguments\": {\"a\": 1}}]"), one);
  for (const ChatFormat format : {ChatFormat::ChatML, ChatFormat::Llama3, ChatFormat::Mistral}) {
    EXPECT_EQ(read(format, "It is noon."), "[]");
    EXPECT_EQ(read(format, ""), "[]");
  }
  EXPECT_EQ(status_of([&] { (void)read(ChatFormat::ChatML, "<tool_call>{"); }), SVQ_ERROR_GRAMMAR);
  EXPECT_EQ(status_of([&] { (void)read(ChatFormat::ChatML, "<tool_call>[]</tool_call>"); }), SVQ_ERROR_GRAMMAR);
  EXPECT_EQ(status_of([&] { (void)read(ChatFormat::Llama3, "{\"name\": 1}"); }), SVQ_ERROR_GRAMMAR);
  EXPECT_EQ(status_of([&] { (void)read(ChatFormat::Gemma, "x"); }), SVQ_ERROR_UNSUPPORTED);
}

TEST(Tools, WrongListsAreRefused) {
  const Vocabulary v = vocabulary();
  for (const char* tools :
       {"", "{}", "[]", "[{}]", "[{\"name\":1}]", "[{\"name\":\"f\",\"parameters\":{\"minProperties\":1}}]"}) {
    EXPECT_EQ(status_of([&] { (void)rt::tools_grammar(ChatFormat::ChatML, v.tokenizer(), tools, false); }),
              SVQ_ERROR_GRAMMAR)
        << tools;
  }
  EXPECT_EQ(status_of([&] { (void)rt::tools_grammar(ChatFormat::Gemma, v.tokenizer(), kTools, false); }),
            SVQ_ERROR_UNSUPPORTED);
}

}  // namespace
}  // namespace svq::test
