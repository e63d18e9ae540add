#include "runtime/tokenizer/chat.h"

#include <gtest/gtest.h>

#include "tests/tokenizer/tables.h"

namespace svq::test {
namespace {

using rt::Message;

struct ChatFixture {
  explicit ChatFixture(fb::ChatFormat format, std::string default_system = "", bool inst_token = false) {
    fb::TokenizerT t = byte_tables();
    t.bos = static_cast<int32_t>(add_special(t, "<s>"));
    t.eos = {add_special(t, "</s>")};
    if (inst_token) add_special(t, "[INST]");
    tokenizer = load(t, 300);
    fb::ChatT c;
    c.format = format;
    c.default_system = std::move(default_system);
    builder.Finish(fb::CreateChat(builder, &c));
  }
  std::vector<rt::Piece> pieces(const std::vector<Message>& m, bool continued = false, bool open = true) const {
    return rt::format_chat(*flatbuffers::GetRoot<fb::Chat>(builder.GetBufferPointer()), *tokenizer.tokenizer, m,
                           continued, open);
  }
  std::string text(const std::vector<Message>& m, bool continued = false, bool open = true) const {
    std::string out;
    for (const auto& p : pieces(m, continued, open)) out += p.text;
    return out;
  }
  Loaded tokenizer;
  flatbuffers::FlatBufferBuilder builder;
};

const Message kSystem{"system", "S"}, kUser{"user", "u"}, kAnswer{"assistant", "a"};

TEST(Chat, ChatMl) {
  const ChatFixture c(fb::ChatFormat::ChatML, "D");
  EXPECT_EQ(c.text({kUser}), "<|im_start|>system\nD<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(c.text({kSystem, kUser, kAnswer}, false, false),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\na<|im_end|>\n");
  EXPECT_EQ(c.text({kUser}, true), "\n<|im_start|>user\nu<|im_end|>\n<|im_start|>assistant\n");
}

TEST(Chat, Llama2) {
  const ChatFixture c(fb::ChatFormat::Llama2);
  EXPECT_EQ(c.text({kSystem, kUser, kAnswer, kUser}),
            "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nu [/INST] a </s><s>[INST] u [/INST]");
  EXPECT_EQ(c.text({kUser}, true), "<s>[INST] u [/INST]");
  EXPECT_THROW(c.text({kUser, kSystem}), std::runtime_error);
  EXPECT_THROW(c.text({kSystem}), std::runtime_error);
}

TEST(Chat, Llama3) {
  const ChatFixture c(fb::ChatFormat::Llama3);
  EXPECT_EQ(c.text({kSystem, {"user", " u\n"}}),
            "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nu"
            "<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(c.text({kUser}, true, false), "<|start_header_id|>user<|end_header_id|>\n\nu<|eot_id|>");
}

TEST(Chat, Mistral) {
  const ChatFixture text(fb::ChatFormat::Mistral), tokens(fb::ChatFormat::Mistral, "", true);
  EXPECT_EQ(text.text({kSystem, kUser, kAnswer, kUser}), "<s>[INST] S\n\nu [/INST] a</s>[INST] u [/INST]");
  EXPECT_EQ(tokens.text({kSystem, kUser, kAnswer, kUser}), "<s>[INST]S\n\nu[/INST]a</s>[INST]u[/INST]");
  EXPECT_EQ(text.text({kUser}, true), "[INST] u [/INST]");
}

TEST(Chat, Gemma) {
  const ChatFixture c(fb::ChatFormat::Gemma);
  EXPECT_EQ(c.text({kSystem, kUser, kAnswer, kUser}),
            "<s><start_of_turn>user\nS\n\nu<end_of_turn>\n<start_of_turn>model\na<end_of_turn>\n<start_of_turn>user\nu"
            "<end_of_turn>\n<start_of_turn>model\n");
  EXPECT_EQ(c.text({kUser}, true), "\n<start_of_turn>user\nu<end_of_turn>\n<start_of_turn>model\n");
}

TEST(Chat, WhatMessagesSayIsNotSpecial) {
  for (const auto format : fb::EnumValuesChatFormat()) {
    if (format == fb::ChatFormat::None) continue;
    const ChatFixture c(format, "<s>D", false);
    for (const auto& p : c.pieces({{"user", "x<s>y"}, {"assistant", "x</s>y"}, {"user", "x<s>y"}}))
      EXPECT_EQ(p.text.find('x') != std::string::npos && p.text.find('y') != std::string::npos,
                !p.special && p.text.find('x') != std::string::npos)
          << p.text;
  }
}

TEST(Chat, Errors) {
  const ChatFixture c(fb::ChatFormat::ChatML);
  EXPECT_THROW(c.text({{"robot", "hi"}}), std::runtime_error);
  EXPECT_THROW(ChatFixture(fb::ChatFormat::None).text({kUser}), std::runtime_error);
  EXPECT_THROW(ChatFixture(static_cast<fb::ChatFormat>(77)).text({kUser}), std::runtime_error);
  try {
    c.text({{"robot", "hi"}});
  } catch (const std::runtime_error& e) {
    EXPECT_NE(std::string(e.what()).find("robot"), std::string::npos);
  }
}

}  // namespace
}  // namespace svq::test
