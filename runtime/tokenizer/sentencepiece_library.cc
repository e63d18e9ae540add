#include "runtime/tokenizer/sentencepiece_library.h"

#include <dlfcn.h>
#include <sentencepiece_processor.h>

#include <new>
#include <stdexcept>

namespace svq::rt {

namespace {

using sentencepiece::SentencePieceProcessor;
using sentencepiece::util::Status;

// The library's functions that are neither virtual nor inline; all others are reached through the processor's own
// table.
struct Functions {
  void (*construct)(SentencePieceProcessor*);
  void (*destroy_status)(Status*);
  const char* (*error_message)(const Status*);
};

// AddressSanitizer does not allow for RTLD_DEEPBIND (and no sanitized program of ours loads libprotobuf).
#if defined(__SANITIZE_ADDRESS__) || !defined(RTLD_DEEPBIND)
constexpr int kFlags = RTLD_NOW | RTLD_LOCAL;
#else
constexpr int kFlags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;  // its own symbols before those of others
#endif

Functions load() {
  void* library = dlopen("libsentencepiece.so.0", kFlags);
  if (library == nullptr) library = dlopen("libsentencepiece.so", kFlags);
  if (library == nullptr)
    throw std::runtime_error(std::string("this vocabulary needs libsentencepiece, which cannot be loaded: ") +
                             dlerror());
  const auto find = [&](const char* name) {  // mangled by the Itanium C++ ABI, as GCC and Clang do on Linux
    void* symbol = dlsym(library, name);
    if (symbol == nullptr)
      throw std::runtime_error(std::string("the libsentencepiece that was found has no symbol ") + name);
    return symbol;
  };
  return {reinterpret_cast<void (*)(SentencePieceProcessor*)>(find("_ZN13sentencepiece22SentencePieceProcessorC1Ev")),
          reinterpret_cast<void (*)(Status*)>(find("_ZN13sentencepiece4util6StatusD1Ev")),
          reinterpret_cast<const char* (*)(const Status*)>(find("_ZNK13sentencepiece4util6Status13error_messageEv"))};
}

const Functions& functions() {
  static const Functions loaded = load();  // tried again if it threw; never unloaded
  return loaded;
}

// What the library says of a call; empty if it went well. call() returns a Status, whose destructor has to be reached
// through the table above.
template <typename Call>
std::string error_of(const Call& call) {
  union Room {
    Room() {}
    ~Room() {}
    Status status;
  } room;
  new (&room.status) Status(call());  // built in place: neither copied nor destroyed here
  std::string message;
  if (!room.status.ok()) message = functions().error_message(&room.status);
  functions().destroy_status(&room.status);
  return message;
}

}  // namespace

void SentencePieceLibrary::Delete::operator()(SentencePieceProcessor* processor) const {
  delete processor;  // virtual: the library's own
}

SentencePieceLibrary::SentencePieceLibrary(std::string_view proto) {
  const Functions& library = functions();
  void* room = ::operator new(sizeof(SentencePieceProcessor));
  library.construct(static_cast<SentencePieceProcessor*>(room));
  processor_.reset(static_cast<SentencePieceProcessor*>(room));
  const std::string error = error_of([&] { return processor_->LoadFromSerializedProto(proto); });
  if (!error.empty()) throw std::runtime_error("tokenizer.sentencepiece: " + error);
}

std::vector<int> SentencePieceLibrary::encode(std::string_view text) const {
  std::vector<int> ids;
  const std::string error = error_of([&] { return processor_->Encode(text, &ids); });
  if (!error.empty()) throw std::runtime_error("sentencepiece cannot encode the text: " + error);
  return ids;
}

const std::string& SentencePieceLibrary::piece(int id) const { return processor_->IdToPiece(id); }

}  // namespace svq::rt
