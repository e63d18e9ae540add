// Writes seeds for gguf_fuzz and safetensors_fuzz: fuzz_corpus DIRECTORY makes DIRECTORY/gguf and
// DIRECTORY/safetensors. (Seeds for svq_fuzz: svq_make_tiny.)
#include <cstdio>
#include <filesystem>

#include "tests/sources/tiny_hf.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_corpus DIRECTORY\n");
    return 2;
  }
  using namespace svq::test;
  const std::filesystem::path directory = argv[1];
  std::filesystem::create_directories(directory / "gguf");
  std::filesystem::create_directories(directory / "safetensors");
  for (const char* family : {"llama", "qwen2", "qwen3"}) {
    const TinyShape shape{.family = family, .hidden = 32, .intermediate = 32, .layers = 1, .heads = 2, .kv_heads = 1};
    auto writer = tiny_gguf(shape);
    write_file(directory / "gguf" / family, writer.build());
    std::erase_if(writer.keys, [](const auto& key) { return key.name.starts_with("tokenizer."); });
    write_file(directory / "gguf" / (std::string(family) + "-bare"), writer.build());
    write_file(directory / "safetensors" / family, safetensors_file(tiny_entries(shape)));
  }
  return 0;
}
