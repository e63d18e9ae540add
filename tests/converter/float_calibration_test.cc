// Sampling with a KV cache, and calibration sequences from files and from the model.
#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>

#include "converter/job/calibration.h"
#include "converter/models/float/decode_attention.h"
#include "converter/models/float/decoder.h"
#include "converter/models/float/evaluate.h"
#include "converter/models/float/sample.h"
#include "tests/converter/float_fake_model.h"

namespace svq::convert::test {
namespace {

FakeOptions architecture(int which) {
  if (which == 0) return {};
  if (which == 1) return {.sliding_window = 5, .biases = true, .tied = false};
  return {.qk_norms = true};
}

class DecoderTest : public testing::TestWithParam<std::tuple<int, bool>> {};

TEST_P(DecoderTest, StepsEqualTheFullForwardPass) {
  const auto [which, keep_weights] = GetParam();
  const FakeModel model(architecture(which));
  const at::Tensor tokens = at::randint(300, {4, 13}, at::kLong);
  const at::Tensor expected = float_logits(model, tokens);
  Decoder decoder(model, 4, 13, keep_weights, {});
  for (int64_t p = 0; p < 13; ++p) {
    const at::Tensor logits = decoder.step(tokens.select(1, p).contiguous());
    EXPECT_LT((logits - expected.select(1, p)).abs().max().item<double>(), 2e-5) << "position " << p;
  }
  EXPECT_THROW(decoder.step(tokens.select(1, 0)), Error);
  decoder.restart(2);  // fewer sequences, from the beginning
  for (int64_t p = 0; p < 3; ++p) {
    const at::Tensor logits = decoder.step(tokens.narrow(0, 1, 2).select(1, p).contiguous());
    EXPECT_LT((logits - expected.narrow(0, 1, 2).select(1, p)).abs().max().item<double>(), 2e-5);
  }
}
INSTANTIATE_TEST_SUITE_P(Architectures, DecoderTest, testing::Combine(testing::Values(0, 1, 2), testing::Bool()));

TEST(DecodeAttention, EqualsSoftmaxOfProducts) {
  at::manual_seed(3);
  for (const int64_t dim : {6, 16, 64, 80}) {
    for (const int64_t keys : {1, 5, 37}) {
      constexpr int64_t kGroup = 3;
      const at::Tensor q = at::randn({kGroup, dim}), k = at::randn({keys, dim}), v = at::randn({keys, dim});
      const at::Tensor expected = at::mm(at::softmax(at::mm(q, k.t()), -1), v);
      at::Tensor out = at::full({kGroup, dim}, 7.0f), scores = at::empty({kGroup, keys});
      attend_one(q.data_ptr<float>(), k.data_ptr<float>(), v.data_ptr<float>(), kGroup, keys, dim,
                 scores.data_ptr<float>(), out.data_ptr<float>());
      EXPECT_LT((out - expected).abs().max().item<double>(), 2e-6 * std::sqrt(static_cast<double>(dim)))
          << dim << " values, " << keys << " keys";

      const at::Tensor half_k = k.to(at::kBFloat16), half_v = v.to(at::kBFloat16);
      const at::Tensor halved = at::mm(at::softmax(at::mm(q, half_k.to(at::kFloat).t()), -1), half_v.to(at::kFloat));
      attend_one(q.data_ptr<float>(), static_cast<const uint16_t*>(half_k.data_ptr()),
                 static_cast<const uint16_t*>(half_v.data_ptr()), kGroup, keys, dim, scores.data_ptr<float>(),
                 out.data_ptr<float>());
      EXPECT_LT((out - halved).abs().max().item<double>(), 2e-6 * std::sqrt(static_cast<double>(dim)));
    }
  }
}

TEST(Pick, InvertsTheCumulativeDistribution) {
  const float p[] = {0.0f, 0.25f, 0.0f, 0.5f, 0.25f, 0.0f};
  EXPECT_EQ(pick(p, 6, 0.0), 1);
  EXPECT_EQ(pick(p, 6, 0.2499), 1);
  EXPECT_EQ(pick(p, 6, 0.25), 3);
  EXPECT_EQ(pick(p, 6, 0.7499), 3);
  EXPECT_EQ(pick(p, 6, 0.75), 4);
  EXPECT_EQ(pick(p, 6, 0.9999999), 4);
  EXPECT_EQ(pick(p, 6, 1.0), 4);  // rounding can put the target at the very end
}

TEST(Uniform, IsEvenAndDependsOnEachArgument) {
  std::set<double> values;
  double sum = 0;
  for (uint64_t seed = 0; seed < 10; ++seed)
    for (uint64_t sequence = 0; sequence < 20; ++sequence)
      for (uint64_t position = 0; position < 50; ++position) {
        const double u = uniform(seed, sequence, position);
        ASSERT_GE(u, 0.0);
        ASSERT_LT(u, 1.0);
        values.insert(u);
        sum += u;
      }
  EXPECT_EQ(values.size(), 10000u);
  EXPECT_NEAR(sum / 10000, 0.5, 0.01);
}

// Empirical frequencies of the first sampled token against the softmax.
TEST(Sample, FollowsTheModelsDistribution) {
  const FakeModel model({.n_layers = 1, .vocab = 12, .sharpness = 2.0f});
  const int64_t n = 4000;
  const std::vector<SequenceScript> scripts(static_cast<size_t>(n), {{3, 5}, {}});
  const at::Tensor tokens = sample_sequences(model, scripts, {.length = 3}, {}, {});
  const at::Tensor p = at::softmax(float_logits(model, at::tensor({3, 5}, at::kLong).unsqueeze(0))[0][1], -1);
  for (int64_t id = 0; id < 12; ++id) {
    const double share = (tokens.select(1, 2) == id).sum().item<double>() / static_cast<double>(n);
    EXPECT_NEAR(share, p[id].item<double>(), 0.035) << "token " << id;  // over 4 standard deviations
  }
  EXPECT_TRUE((tokens.select(1, 0) == 3).all().item<bool>());
  EXPECT_TRUE((tokens.select(1, 1) == 5).all().item<bool>());
}

TEST(Sample, TopOneIsTheMostLikely) {
  const FakeModel model({.sharpness = 2.0f});
  const at::Tensor tokens = sample_sequences(model, {{{3}, {}}, {{4}, {}}}, {.length = 9, .top_k = 1}, {}, {});
  const at::Tensor best = float_logits(model, tokens).argmax(-1);
  EXPECT_TRUE(tokens.narrow(1, 1, 8).equal(best.narrow(1, 0, 8)));
}

TEST(Sample, ARunIsRepeatedExactlyAndTheSeedMatters) {
  const FakeModel model({});
  const std::vector<SequenceScript> scripts(5, {{3}, {}});
  const at::Tensor a = sample_sequences(model, scripts, {.length = 20, .seed = 1}, {}, {});
  EXPECT_TRUE(a.equal(sample_sequences(model, scripts, {.length = 20, .seed = 1}, {}, {})));
  EXPECT_FALSE(a.equal(sample_sequences(model, scripts, {.length = 20, .seed = 2}, {}, {})));
  EXPECT_FALSE(a[0].equal(a[1]));
  // A budget for the cache of two sequences, with and without the weights in memory.
  for (const uint64_t weights : {Decoder::weight_bytes(model, {}), uint64_t{0}}) {
    const uint64_t budget = weights * 4 + 4 * Decoder::cache_bytes(model, 20, {});
    EXPECT_TRUE(a.equal(sample_sequences(model, scripts, {.length = 20, .seed = 1, .memory_budget = budget}, {}, {})));
  }
}

TEST(Sample, TurnsAreGivenWhereTheModelEndsOne) {
  const FakeModel model({.vocab = 8});  // an end comes once in a few tokens
  SampleOptions options{.length = 200};
  options.ends = {6};
  const std::vector<SequenceScript> scripts{{{1, 2}, {{6, 7, 7}, {5, 5, 5, 5}}}};
  const at::Tensor tokens = sample_sequences(model, scripts, options, {}, {});
  const int64_t* t = tokens.data_ptr<int64_t>();
  EXPECT_EQ(t[0], 1);
  EXPECT_EQ(t[1], 2);
  // Every 6 stands at the head of the first turn; turns alternate.
  int64_t first_turns = 0;
  for (int64_t i = 2; i + 2 < 200; ++i) {
    if (t[i] != 6) continue;
    ++first_turns;
    EXPECT_EQ(t[i + 1], 7);
    EXPECT_EQ(t[i + 2], 7);
  }
  EXPECT_GT(first_turns, 2);
}

TEST(Sample, StopsWhenToldTo) {
  const FakeModel model({});
  int calls = 0;
  const at::Tensor tokens = sample_sequences(model, {{{3}, {}}}, {.length = 20}, {}, [&](double fraction) {
    EXPECT_GE(fraction, 0.0);
    EXPECT_LE(fraction, 1.0);
    return ++calls < 5;
  });
  EXPECT_FALSE(tokens.defined());
  EXPECT_EQ(calls, 5);
}

// ---------------------------------------------------------------- calibration sets

class CalibrationTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "svq_calibration_XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path write(const std::string& name, const std::string& content) {
    std::ofstream(folder_ / name, std::ios::binary) << content;
    return folder_ / name;
  }
  static std::string message(const Model& model, const CalibrationOptions& options) {
    try {
      make_calibration(model, options, {});
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  std::filesystem::path folder_;
  const FakeModel model_{{.tokenizer = true}};
};

TEST_F(CalibrationTest, TextIsCutIntoEvenStretches) {
  std::string text;
  for (int i = 0; i < 100; ++i) text += static_cast<char>('!' + i % 90);
  const auto set = make_calibration(model_, {.n_sequences = 4, .length = 10, .text = write("a.txt", text)}, {});
  ASSERT_TRUE(set);
  ASSERT_EQ(set->tokens.sizes(), (std::vector<int64_t>{4, 10}));
  for (int64_t i = 0; i < 4; ++i)
    for (int64_t j = 0; j < 10; ++j)
      EXPECT_EQ(set->tokens[i][j].item<int64_t>(), text[static_cast<size_t>(25 * i + j)]);
  EXPECT_NE(set->description.find("a.txt"), std::string::npos);
}

TEST_F(CalibrationTest, RandomWindowsDependOnTheSeed) {
  std::string text;
  for (int i = 0; i < 5000; ++i) text += static_cast<char>('!' + i * i % 90);
  CalibrationOptions options{
      .n_sequences = 4, .length = 10, .seed = 1, .text = write("a.txt", text), .random_windows = true};
  const at::Tensor a = make_calibration(model_, options, {})->tokens;
  EXPECT_TRUE(a.equal(make_calibration(model_, options, {})->tokens));
  options.seed = 2;
  EXPECT_FALSE(a.equal(make_calibration(model_, options, {})->tokens));
}

TEST_F(CalibrationTest, TextAndTheModelsOwnAreMixed) {
  CalibrationOptions options{.n_sequences = 40,
                             .length = 10,
                             .seed = 1,
                             .text = write("a.txt", std::string(1000, 'a')),
                             .sampled_share = 0.25};
  const auto texts = [&](const at::Tensor& tokens) {
    std::vector<bool> of_text;
    for (int64_t i = 0; i < tokens.size(0); ++i) of_text.push_back((tokens[i] == 'a').all().item<bool>());
    return of_text;
  };
  const auto set = make_calibration(model_, options, {});
  ASSERT_EQ(set->tokens.sizes(), (std::vector<int64_t>{40, 10}));
  const std::vector<bool> of_text = texts(set->tokens);
  EXPECT_EQ(std::count(of_text.begin(), of_text.end(), true), 30);
  EXPECT_FALSE(std::is_partitioned(of_text.begin(), of_text.end(), [](bool b) { return b; }));
  EXPECT_TRUE(set->tokens.equal(make_calibration(model_, options, {})->tokens));
  // The model makes up for a text that is too short.
  options.text = write("short.txt", std::string(100, 'a'));
  const std::vector<bool> few = texts(make_calibration(model_, options, {})->tokens);
  EXPECT_EQ(few.size(), 40u);
  EXPECT_EQ(std::count(few.begin(), few.end(), true), 10);
}

TEST_F(CalibrationTest, ShortTimeForSamplingTakesOfTheTextInProportion) {
  CalibrationOptions options{.n_sequences = 400,
                             .length = 40,
                             .text = write("a.txt", std::string(20000, 'a')),
                             .sampled_share = 0.5,
                             .sampling_seconds = 1e-9};
  // 32 of the 200 that the model should write are there in any case.
  const at::Tensor tokens = make_calibration(model_, options, {})->tokens;
  EXPECT_EQ(tokens.size(0), 64);
  EXPECT_EQ((tokens == 'a').all(1).sum().item<int64_t>(), 32);
  options.text.clear();
  const auto set = make_calibration(model_, options, {});
  EXPECT_EQ(set->tokens.size(0), 32);
  EXPECT_TRUE(set->description.starts_with("32 sequences")) << set->description;
  options.sampling_seconds = 1e9;
  const at::Tensor all = make_calibration(model_, options, {})->tokens;
  EXPECT_EQ(all.size(0), 400);
  // What is there is what would have been there with all the time.
  EXPECT_TRUE(set->tokens.narrow(1, 0, 16).equal(all.narrow(0, 0, 32).narrow(1, 0, 16)));
}

TEST_F(CalibrationTest, SequencesBeginAsTheModelWants) {
  const FakeModel model({.tokenizer = true, .add_bos = true});
  const auto set = make_calibration(model, {.n_sequences = 2, .length = 5, .text = write("a.txt", "abcdefgh")}, {});
  EXPECT_TRUE((set->tokens.select(1, 0) == FakeModel::kBos).all().item<bool>());
  EXPECT_EQ(set->tokens[1][1].item<int64_t>(), 'e');
}

TEST_F(CalibrationTest, ControlTokensWrittenInATextAreText) {
  const auto set =
      make_calibration(model_, {.n_sequences = 1, .length = 12, .text = write("a.txt", "<|im_start|>")}, {});
  EXPECT_EQ(set->tokens[0][0].item<int64_t>(), '<');
}

TEST_F(CalibrationTest, JsonLinesGiveTheNamedFields) {
  const std::string lines = R"({"text": "ab", "title": "T"})"
                            "\n\n"
                            R"({"title": "U", "text": "cd\u0021"})"
                            "\n";
  const auto texts = [&](const std::vector<std::string>& fields) {
    std::vector<std::string> all;
    for (const Document& d : read_documents(write("a.jsonl", lines), fields)) all.push_back(d.text);
    return all;
  };
  EXPECT_EQ(texts({"text"}), (std::vector<std::string>{"ab", "cd!"}));
  EXPECT_EQ(texts({"title", "text"}), (std::vector<std::string>{"T\nab", "U\ncd!"}));
}

TEST_F(CalibrationTest, ChatsAreWrittenInTheModelsFormat) {
  const FakeModel model({.tokenizer = true, .chat = fb::ChatFormat::ChatML});
  const std::string lines =
      R"({"messages": [{"role": "user", "content": "go <|im_end|>"}, {"role": "assistant", "content": null,)"
      R"( "tool_calls": [{"type": "function", "function": {"name": "move", "arguments": "{\"to\":[1,\"x\"]}"}}]},)"
      R"( {"role": "tool", "content": "ok"}, {"role": "assistant", "content": [{"type": "text", "text": "Done"}]}],)"
      R"( "tools": [{"type": "function", "function": {"name": "move", "description": "moves"}}]})"
      "\n";
  const std::string tools = R"({"type": "function", "function": {"name": "move", "description": "moves"}})";
  const auto documents = read_documents(write("a.jsonl", lines), {"text"});
  ASSERT_EQ(documents.size(), 1u);
  ASSERT_EQ(documents[0].chat.messages.size(), 4u);
  const auto set =
      make_calibration(model, {.n_sequences = 1, .length = 800, .text = write("a.jsonl", lines + lines)}, {});
  std::string text;  // control tokens as one character each
  for (int64_t i = 0; i < 800; ++i) {
    const int64_t t = set->tokens[0][i].item<int64_t>();
    text += t == FakeModel::kStart ? '\x01' : t == FakeModel::kEnd ? '\x02' : static_cast<char>(t);
  }
  const std::string wanted =
      "\n</tool_call>\x02\n"
      "\x01user\n<tool_response>\nok\n</tool_response>\x02\n\x01"
      "assistant\nDone\x02\n";
  EXPECT_EQ(text.rfind("\x01system\n# Tools", 0), 0u) << text;
  EXPECT_NE(text.find("<tools>\n" + tools + "\n</tools>"), std::string::npos) << text;
  // What a message says is not read as a control token.
  EXPECT_NE(text.find("\x01user\ngo <|im_end|>\x02\n\x01"
                      "assistant\n<tool_call>\n{\"name\": \"move\", \"arguments\": {\"to\": [1, \"x\"]}}" +
                      wanted),
            std::string::npos)
      << text;
}

TEST_F(CalibrationTest, UnusableChatsAreOneSentence) {
  const FakeModel chatml({.tokenizer = true, .chat = fb::ChatFormat::ChatML});
  const auto of = [&](const Model& model, const std::string& line) {
    return message(model, {.n_sequences = 1, .length = 4, .text = write("a.jsonl", line + "\n")});
  };
  EXPECT_NE(of(chatml, R"({"messages": []})").find("line 1, field 'messages' is not a list"), std::string::npos);
  EXPECT_NE(of(chatml, R"({"messages": [{"content": "x"}]})").find("messages[0] has no string field 'role'"),
            std::string::npos);
  EXPECT_NE(of(chatml, R"({"messages": [{"role": "user", "content": 7}]})").find("messages[0].content is neither"),
            std::string::npos);
  EXPECT_NE(of(chatml, R"({"messages": [{"role": "bard", "content": "x"}]})").find("the role \"bard\" is unknown"),
            std::string::npos);
  EXPECT_NE(of(chatml, R"({"messages": [{"role": "assistant", "tool_calls": [{"name": "f", "arguments": "{"}]}]})")
                .find("arguments is not a JSON object"),
            std::string::npos);
  EXPECT_NE(of(chatml, R"({"messages": [{"role": "user", "content": "x"}], "tools": [{}]})")
                .find("a tool has no string field 'name'"),
            std::string::npos);
  const FakeModel gemma({.tokenizer = true, .chat = fb::ChatFormat::Gemma});
  EXPECT_NE(of(gemma, R"({"messages": [{"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]})")
                .find("no tool calls"),
            std::string::npos);
  const std::string none = of(model_, R"({"messages": [{"role": "user", "content": "hello"}]})");
  EXPECT_NE(none.find("line 1, "), std::string::npos) << none;
  EXPECT_NE(none.find("chat format"), std::string::npos) << none;
}

TEST_F(CalibrationTest, AQuarterOfTheSampledSequencesHasToolsWhereTheTemplateHas) {
  const auto with_tools = [&](const std::string& source_template) {
    const FakeModel model({.tokenizer = true, .chat = fb::ChatFormat::ChatML, .chat_template = source_template});
    const auto set = make_calibration(model, {.n_sequences = 8, .length = 2600}, {});
    int count = 0;
    for (int64_t i = 0; i < 8; ++i) {
      std::string text;
      for (int64_t j = 0; j < 400; ++j) text += static_cast<char>(set->tokens[i][j].item<int64_t>());
      count += text.find("# Tools") != std::string::npos;
    }
    return count;
  };
  EXPECT_EQ(with_tools("{% if tools %}"), 2);
  EXPECT_EQ(with_tools("{{ messages }}"), 0);
}

TEST_F(CalibrationTest, UnusableTextsAreOneSentence) {
  const auto of = [&](const std::string& name, const std::string& content) {
    return message(model_, {.n_sequences = 2, .length = 10, .text = write(name, content)});
  };
  EXPECT_NE(of("empty.txt", "").find("empty.txt' is empty"), std::string::npos);
  const std::string brief = of("brief.txt", "only a few");
  EXPECT_NE(brief.find("holds 10 tokens"), std::string::npos) << brief;
  EXPECT_NE(brief.find("need 20"), std::string::npos) << brief;
  EXPECT_NE(
      of("a.jsonl", "{\"text\": \"x\"}\n{\"text\": 7}\n").find("line 2, has no string field 'text', nor 'messages'"),
      std::string::npos);
  EXPECT_NE(of("b.jsonl", "{\"text\": \n").find("line 1, is not a JSON object"), std::string::npos);
  EXPECT_NE(of("c.jsonl", "[\"text\"]\n").find("is not a JSON object"), std::string::npos);
  EXPECT_NE(of("d.jsonl", std::string(100000, '[')).find("is not a JSON object"), std::string::npos);
  EXPECT_NE(of("e.jsonl", "\n \n").find("holds 0 tokens"), std::string::npos);
  EXPECT_NE(message(model_, {.text = folder_ / "nowhere.txt"}).find("nowhere.txt' is not a readable file"),
            std::string::npos);
  EXPECT_NE(message(model_, {.text = folder_}).find("is not a readable file"), std::string::npos);
  EXPECT_NE(message(FakeModel({}), {.text = write("a.txt", "abc")}).find("has no tokenizer"), std::string::npos);
  EXPECT_NE(message(model_, {.n_sequences = 0}).find("at least one sequence"), std::string::npos);
}

TEST_F(CalibrationTest, OfALargeFileEvenlySpreadLinesAreRead) {
  std::string block;
  while (block.size() < (1u << 20)) block += "0123456789 0123456789\n";
  const std::filesystem::path path = folder_ / "large.txt";
  {
    std::ofstream file(path, std::ios::binary);
    for (int i = 0; i < 70; ++i) file << block;
  }
  const std::vector<Document> pieces = read_documents(path, {"text"});
  ASSERT_EQ(pieces.size(), 64u);
  for (const auto& [piece, chat, where] : pieces) {
    EXPECT_LE(piece.size(), size_t{1} << 20);
    EXPECT_EQ(piece.size() % 22, 0u);
    EXPECT_EQ(piece[0], '0');
  }
}

TEST_F(CalibrationTest, SampledWithoutATokenizer) {
  const FakeModel model({});
  const auto set = make_calibration(model, {.n_sequences = 3, .length = 8, .seed = 4}, {});
  ASSERT_EQ(set->tokens.sizes(), (std::vector<int64_t>{3, 8}));
  EXPECT_TRUE(set->tokens.equal(make_calibration(model, {.n_sequences = 3, .length = 8, .seed = 4}, {})->tokens));
}

TEST_F(CalibrationTest, HalfOfTheSampledSequencesAreChats) {
  const FakeModel model({.tokenizer = true, .chat = fb::ChatFormat::ChatML});
  const auto set = make_calibration(model, {.n_sequences = 6, .length = 400}, {});
  const std::string user = "user\n", assistant = "assistant\n";
  int answers = 0;
  for (int64_t i = 0; i < 6; ++i) {
    const int64_t* t = set->tokens.data_ptr<int64_t>() + i * 400;
    if (i % 2 == 0) {
      EXPECT_LT(t[0], 256);
      continue;
    }
    EXPECT_EQ(t[0], FakeModel::kStart);
    for (size_t j = 0; j < user.size(); ++j) EXPECT_EQ(t[1 + j], user[j]);
    // The first turn that the model ends is followed by the opening of the answer.
    for (int64_t p = 6; p + 20 < 400; ++p) {
      if (t[p] != FakeModel::kEnd) continue;
      EXPECT_EQ(t[p + 1], '\n');
      EXPECT_EQ(t[p + 2], FakeModel::kStart);
      for (size_t j = 0; j < assistant.size(); ++j) EXPECT_EQ(t[p + 3 + static_cast<int64_t>(j)], assistant[j]);
      ++answers;
      break;
    }
  }
  EXPECT_GT(answers, 0);
  EXPECT_NE(set->description.find("chats"), std::string::npos);
}

TEST_F(CalibrationTest, CancelledGivesNothing) {
  EXPECT_FALSE(make_calibration(model_, {.n_sequences = 1, .length = 8}, {}, [](double) { return false; }));
  EXPECT_FALSE(make_calibration(model_, {.n_sequences = 1, .length = 3, .text = write("a.txt", "abc")}, {},
                                [](double) { return false; }));
}

}  // namespace
}  // namespace svq::convert::test
