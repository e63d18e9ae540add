// libsentencepiece, loaded when the first SentencePiece vocabulary is.
//
// Not linked, because it cannot share a process with libprotobuf otherwise: Debian's library exports the protobuf that
// it was built with, another version of the same symbols, and whichever is found first serves both. libtorch brings
// libprotobuf into the converter, and so do ROS and TensorFlow into a robot's process; the program then ends before
// main. Models with byte-level BPE run without the library.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace sentencepiece {
class SentencePieceProcessor;
}

namespace svq::rt {

class SentencePieceLibrary {
 public:
  // proto: a serialised ModelProto. Throws std::runtime_error with one sentence if the library cannot be loaded, or
  // refuses the model.
  explicit SentencePieceLibrary(std::string_view proto);

  std::vector<int> encode(std::string_view text) const;  // ids; thread-safe
  const std::string& piece(int id) const;

 private:
  struct Delete {
    void operator()(sentencepiece::SentencePieceProcessor* processor) const;
  };
  std::unique_ptr<sentencepiece::SentencePieceProcessor, Delete> processor_;
};

}  // namespace svq::rt
